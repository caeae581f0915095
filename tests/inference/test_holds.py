"""Which adapters a borrower holds, and when it gives them back."""

from pathlib import Path

import pytest

from inference.engine import AdapterRef
from inference.lending.holds import Hold, HoldBooks, Then

ONE = AdapterRef("ft:base:acme::1", "base", Path("/adapters/1"), 4, "0" * 64)
TWO = AdapterRef("ft:base:acme::2", "base", Path("/adapters/2"), 4, "0" * 64)


@pytest.fixture
def books() -> HoldBooks:
    return HoldBooks()


def granted(books: HoldBooks, adapter: AdapterRef = ONE) -> Hold:
    hold = books.begin(adapter)
    hold.is_granted = True
    return hold


def test_requests_for_one_adapter_share_a_hold_and_others_have_their_own(books: HoldBooks) -> None:
    first = books.begin(ONE)
    assert books.begin(ONE) is first
    assert first.uses == 2
    assert books.begin(TWO).id != first.id


def test_a_hold_lingers_after_its_last_request_and_the_next_uses_it_again(books: HoldBooks) -> None:
    hold = granted(books)
    books.begin(ONE)
    assert books.end(hold) is Then.NOTHING
    assert books.end(hold) is Then.LINGER
    assert books.begin(ONE) is hold
    assert books.end(hold) is Then.LINGER
    assert books.close(hold) is Then.RELEASE
    assert books.find(hold.id) is None


def test_a_hold_that_nobody_waits_for_any_more_is_given_back_at_once(books: HoldBooks) -> None:
    hold = books.begin(ONE)
    assert books.end(hold) is Then.RELEASE
    assert books.begin(ONE) is not hold


def test_a_closed_hold_is_given_back_at_the_end_of_its_requests_and_none_begins_with_it(books: HoldBooks) -> None:
    hold = granted(books)
    assert books.close(hold) is Then.NOTHING
    assert books.begin(ONE) is not hold
    assert books.end(hold) is Then.RELEASE
    assert books.close(hold) is Then.NOTHING


def test_a_dropped_hold_is_given_back_to_nobody(books: HoldBooks) -> None:
    hold = granted(books)
    books.drop(hold)
    assert books.find(hold.id) is None
    assert books.end(hold) is Then.NOTHING
    assert books.close(hold) is Then.NOTHING
    assert books.begin(ONE) is not hold


def test_an_adapter_with_other_files_under_the_same_name_is_another_hold(books: HoldBooks) -> None:
    other = AdapterRef(ONE.name, ONE.base_model, Path("/adapters/other"), ONE.rank, ONE.sha256)
    assert books.begin(ONE) is not books.begin(other)
