"""A fine-tuned model as a tar: its bytes, and who gets them."""

import hashlib
import io
import os
import shutil
import tarfile
import tracemalloc
from pathlib import Path

import httpx
import pytest

from server.base_models import BaseModels
from server.db.project_session import project_session
from server.db.tables import FineTunedModelRow
from server.models.aliases import delete_alias, set_alias
from server.models.archive import ArchiveTorn, open_archive, safe_name
from tests.adapter_files import write_adapter
from tests.factories import make_model
from tests.running_api import ADMIN_KEY, Api

TOP = "ft-tunesmith-demo-personal-desk-AbCd1234"


def make_published(api: Api, **columns: str) -> FineTunedModelRow:
    row = make_model(api.services, api.project_id, **columns)  # type: ignore[arg-type]  # name and directory are text
    directory = write_adapter(api.services.settings.adapters / row.directory)
    (directory / "README.md").write_text("# A card\n")
    return row


def url_of(name: str) -> str:
    return f"/v1/tunesmith/models/{name}/archive"


def read(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]  # all are files


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ft:tunesmith-demo:personal:desk:AbCd1234", TOP),
        ("ft:Qwen/Qwen3-8B:org::12345678:ckpt-step-10", "ft-Qwen-Qwen3-8B-org-12345678-ckpt-step-10"),
        ('../..\\"\r\nx: y', "x-y"),
        ("...", "model"),
        ("é", "model"),
    ],
)
def test_a_models_name_becomes_one_that_a_file_can_have(name: str, expected: str) -> None:
    assert safe_name(name) == expected


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 300_000])
def test_the_archive_is_a_tar_of_exactly_the_size_it_says(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "weights").write_bytes(content)
    (tmp_path / "a card").write_text("é")
    top = "m" * 250  # longer than the oldest form of a tar allows
    archive = open_archive(tmp_path, top=top, created_at=1_800_000_000)
    data = b"".join(archive.chunks)

    assert len(data) == archive.size_bytes
    assert read(data) == {f"{top}/a card": "é".encode(), f"{top}/weights": content}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            assert member.isfile()
            assert (member.mtime, member.mode, member.uid, member.uname) == (1_800_000_000, 0o644, 0, "")


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    write_adapter(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    os.utime(tmp_path / "other" / "adapter_config.json", (1, 1))
    (tmp_path / "other" / "adapter_config.json").chmod(0o600)

    one, other = (b"".join(open_archive(tmp_path / name, top=TOP, created_at=7).chunks) for name in ("one", "other"))
    assert hashlib.sha256(one).digest() == hashlib.sha256(other).digest()


def test_links_and_directories_are_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of somebody else")
    directory = write_adapter(tmp_path / "adapter")
    (directory / "link").symlink_to(tmp_path / "secret")
    (directory / "folder").mkdir()

    found = read(b"".join(open_archive(directory, top=TOP, created_at=7).chunks))
    assert sorted(found) == [f"{TOP}/adapter_config.json", f"{TOP}/adapter_model.safetensors"]


def test_a_model_deleted_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    directory = write_adapter(tmp_path / "adapter")
    whole = b"".join(open_archive(directory, top=TOP, created_at=7).chunks)
    archive = open_archive(directory, top=TOP, created_at=7)
    first = next(archive.chunks)
    shutil.rmtree(directory)

    assert first + b"".join(archive.chunks) == whole


def test_a_file_that_shrinks_meanwhile_ends_the_archive_with_an_error(tmp_path: Path) -> None:
    directory = write_adapter(tmp_path / "adapter")
    (directory / "zeros").write_bytes(bytes(1_000_000))
    archive = open_archive(directory, top=TOP, created_at=7)
    os.truncate(directory / "zeros", 600_000)

    with pytest.raises(ArchiveTorn):
        b"".join(archive.chunks)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_directory_without_files_is_none(tmp_path: Path, is_there: bool) -> None:
    if is_there:
        (tmp_path / "adapter").mkdir()
    with pytest.raises(FileNotFoundError):
        open_archive(tmp_path / "adapter", top=TOP, created_at=7)


def test_a_large_model_takes_no_more_memory_than_a_small_one(tmp_path: Path) -> None:
    directory = write_adapter(tmp_path / "adapter")
    with (directory / "large").open("wb") as file:
        file.truncate(64 * 1024**2)
    tracemalloc.start()
    try:
        archive = open_archive(directory, top=TOP, created_at=7)
        assert sum(len(chunk) for chunk in archive.chunks) == archive.size_bytes
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * 1024**2


def test_a_project_downloads_its_model(api: Api, http: httpx.Client) -> None:
    row = make_published(api)
    answer = http.get(url_of(row.name))

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["content-length"] == str(len(answer.content))
    top = safe_name(row.name)
    assert answer.headers["content-disposition"] == f'attachment; filename="{top}.tar"'
    directory = api.services.settings.adapters / row.directory
    assert read(answer.content) == {f"{top}/{path.name}": path.read_bytes() for path in directory.iterdir()}
    assert http.get(url_of(row.name)).content == answer.content
    assert http.head(url_of(row.name)).headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize("slash", ["/", "%2F"])
def test_a_name_with_a_slash_is_one_name(api: Api, http: httpx.Client, slash: str) -> None:
    unique = "Slash000" if slash == "/" else "Slash111"
    row = make_published(api, name=f"ft:Qwen/Qwen3-8B:mine::{unique}")

    assert http.get(url_of(row.name.replace("/", slash))).status_code == 200


def test_what_another_project_has_is_as_unknown_as_what_never_was(api: Api) -> None:
    row = make_published(api)
    never = "ft:tunesmith-demo:mine::00000000"
    with api.http(api.foreign_key) as http:
        theirs, unknown = http.get(url_of(row.name)), http.get(url_of(never))
        retrieved = http.get(f"/v1/models/{row.name}")

    assert theirs.status_code == unknown.status_code == 404
    assert theirs.text.replace(row.name, "NAME") == unknown.text.replace(never, "NAME")
    assert theirs.json() == retrieved.json()


def test_a_model_that_is_shared_may_be_used_and_not_taken_away(api: Api) -> None:
    row = make_published(api)
    theirs = api.services.authenticator.authenticate([(b"authorization", b"Bearer " + api.foreign_key.encode())])
    with api.http(ADMIN_KEY) as admin:
        shared = admin.post(
            f"/v1/fine_tuning/checkpoints/{row.name}/permissions", json={"project_ids": [theirs.project_id]}
        )
        assert shared.status_code == 200, shared.text
    with api.http(api.foreign_key) as http:
        assert http.get(f"/v1/models/{row.name}").status_code == 200
        refused = http.get(url_of(row.name))

    assert refused.status_code == 403
    assert "belongs to another project, which alone can download it" in refused.json()["error"]["message"]


def test_a_base_model_is_no_archive(http: httpx.Client) -> None:
    answer = http.get(url_of("gpt-4o-mini"))

    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": "The model 'gpt-4o-mini' is a base model of this server; only fine-tuned models can be downloaded.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "invalid_value",
    }


def test_an_alias_gives_the_model_it_stands_for(api: Api, http: httpx.Client) -> None:
    row = make_published(api)
    base_models: BaseModels = api.services.base_models
    set_alias(api.database, base_models, api.project_id, name="desk/model", target=row.name)
    by_alias = http.get(url_of("desk/model"))
    with project_session(api.database, api.project_id, write=True) as session:
        delete_alias(session, "desk/model")

    assert by_alias.content == http.get(url_of(row.name)).content


def test_a_model_that_is_deleted_is_gone_with_every_file(api: Api, http: httpx.Client) -> None:
    row = make_published(api)
    directory = api.services.settings.adapters / row.directory
    assert http.delete(f"/v1/models/{row.name}").status_code == 200

    assert not directory.exists()
    answer = http.get(url_of(row.name))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_files_that_are_gone_without_their_model_are_an_unknown_model(api: Api, http: httpx.Client) -> None:
    row = make_model(api.services, api.project_id)
    answer = http.get(url_of(row.name))

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
