"""How an account is read: with patience, to the end of its lists, and no further than is good."""

import socket
from collections.abc import Iterator

import pytest

from server.importing.account import Account
from server.importing.back_off import MOST_TRIES
from server.importing.errors import ImportFailed, Refused
from server.importing.reader import AccountReader
from tests.stub_account import KEY, Fault, StubAccount


@pytest.fixture
def account() -> Iterator[StubAccount]:
    account = StubAccount(lists={"/files": [{"id": f"file-{n}"} for n in range(5)]}, objects={"/o": {"id": "o"}})
    with account.serving():
        yield account


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def reader(account: StubAccount, waits: list[float]) -> Iterator[AccountReader]:
    reader = AccountReader(Account(account.url, KEY), pause=waits.append)
    yield reader
    reader.close()


def test_a_list_is_read_to_its_end(reader: AccountReader, account: StubAccount) -> None:
    assert [told["id"] for told in reader.pages("/files", limit=100)] == [f"file-{n}" for n in range(5)]
    assert account.asked["/files"] == 3


def test_a_list_that_turns_in_a_circle_is_left(reader: AccountReader, account: StubAccount) -> None:
    account.objects["/circle"] = {"data": [{"id": "a"}], "has_more": True}
    with pytest.raises(Refused, match="does not end"):
        list(reader.pages("/circle", limit=100))


def test_a_download_that_breaks_off_begins_anew(
    reader: AccountReader, account: StubAccount, waits: list[float]
) -> None:
    account.contents["file-1"] = b"x" * 10_000
    account.faults["/files/file-1/content"] = [Fault(cut_at=0), Fault(cut_at=9_000)]
    assert reader.download("/files/file-1/content", b"".join) == b"x" * 10_000
    assert waits == [0.5, 1.0]


def test_what_the_server_asks_for_is_waited(reader: AccountReader, account: StubAccount, waits: list[float]) -> None:
    account.faults["/o"] = [Fault(429, {"retry-after": "20"}), Fault(503)]
    assert reader.get("/o") == {"id": "o"}
    assert waits == [20.0, 1.0]


def test_one_object_that_cannot_be_read_is_refused_and_a_third_ends_the_import(
    reader: AccountReader, account: StubAccount, waits: list[float]
) -> None:
    account.refusals["/o"] = Fault(500, message=f"broken,\n for {KEY}")
    for _ in range(2):
        with pytest.raises(Refused, match="500: broken,  for …"):
            reader.get("/o")
    assert len(waits) == 2 * (MOST_TRIES - 1)
    with pytest.raises(ImportFailed, match="goes on answering 500"):
        reader.get("/o")


def test_a_refusal_is_no_fault_of_the_account(reader: AccountReader, account: StubAccount, waits: list[float]) -> None:
    for _ in range(5):
        with pytest.raises(Refused, match="404"):
            reader.get("/nowhere")
    assert waits == []


@pytest.mark.parametrize("body", [b"<html>", b"[]", b""])
def test_an_answer_that_is_no_object_is_asked_for_again(
    reader: AccountReader, account: StubAccount, waits: list[float], body: bytes
) -> None:
    account.contents["file-1"] = body
    with pytest.raises(ImportFailed, match="run the same command again"):
        reader.get("/files/file-1/content")
    assert len(waits) == MOST_TRIES - 1


def test_nobody_there_is_said_with_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    reader = AccountReader(Account(f"http://127.0.0.1:{port}/v1", KEY), pause=lambda _: None)
    with pytest.raises(ImportFailed, match=f"127.0.0.1:{port}/v1 cannot be read: Connection refused"):
        reader.get("/o")
    reader.close()


def test_a_proxy_that_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://user:secret@127.0.0.1:1")
    with pytest.raises(ImportFailed, match="proxy") as caught:
        AccountReader(Account("http://127.0.0.1:1/v1", KEY))
    assert "secret" not in str(caught.value)
