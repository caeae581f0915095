"""The lines of a journal (pure): a JSON array of an account and an increment, and of a batch's a `true` behind them."""

import logging
from collections.abc import Mapping

import orjson

from server.metering.account import Account, Amount

_LOG = logging.getLogger("tunesmith.metering")
_N_ACCOUNT = len(Account._fields) - 1  # without `is_batch`
_N_FIELDS = _N_ACCOUNT + len(Amount._fields)


def render_line(account: Account, amount: Amount) -> bytes:
    return orjson.dumps((*account[:_N_ACCOUNT], *amount, *([True] if account.is_batch else []))) + b"\n"


def whole_lines(raw: bytes) -> bytes:
    """What was read, without a line at its end whose writer is not done with it, or was killed."""
    return raw[: raw.rfind(b"\n") + 1]


def sum_lines(raw: bytes) -> Mapping[Account, Amount]:
    """Add up whole lines by account. One that is damaged is left out: nothing else depends on it."""
    sums: dict[Account, Amount] = {}
    for line in raw.splitlines():
        try:
            account, amount = _read(line)
        except (ValueError, TypeError):
            _LOG.error("a line of a journal of usage is damaged and was left out")
            continue
        sums[account] = sums.get(account, Amount()) + amount
    return sums


def _read(line: bytes) -> tuple[Account, Amount]:
    fields = orjson.loads(line)
    if not isinstance(fields, list) or len(fields) not in (_N_FIELDS, _N_FIELDS + 1):
        raise ValueError("not a line of this journal")
    account = Account(*[*fields[:_N_ACCOUNT], fields[_N_FIELDS:] == [True]])
    amount = Amount(*fields[_N_ACCOUNT:_N_FIELDS])
    names = account[: _N_ACCOUNT - 1]
    if not all(isinstance(name, str) for name in names) or not _are_whole([account.minute, *amount]):
        raise TypeError("a field has another type")
    return account, amount


def _are_whole(numbers: list[int]) -> bool:
    return all(type(number) is int for number in numbers)
