"""Structural validation of data files, against a loop over their lines with bare orjson; both on one core."""

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from trainer.contract.faults import find_faults

_AIM = 0.6
_N_LINES = 20_000
_LINE_BYTES = 1000
_ROUNDS = 15
_WORDS = ("the", "parcel", "is", "on", "its", "way", "and", "will", "be", "there", "tomorrow,", "says", "our", "shop")


def main(n_lines: int = _N_LINES, rounds: int = _ROUNDS) -> None:
    print(f"{'':52} {'ratio':>6} {'aim':>6} {'ours':>10} {'orjson':>10}")
    with tempfile.TemporaryDirectory(prefix="ts-") as directory:
        for name, make_row in _ROWS.items():
            path = Path(directory, "rows.jsonl")
            n_bytes = _write(path, make_row, n_lines)
            ratio, ours_s, bare_s = _compare(path, n_lines, rounds)
            ours, bare = (f"{n_bytes / taken / 1e6:5.0f} MB/s" for taken in (ours_s, bare_s))
            print(f"{name}, {n_bytes // n_lines:,} bytes a line{'':40}"[:52], f"{ratio:6.2f} {_AIM:6} {ours} {bare}")


def _compare(path: Path, n_lines: int, rounds: int) -> tuple[float, float, float]:
    """The median of the ratios of alternating runs, and of the times in seconds."""
    pairs = [(_time(lambda: _parse(path)), _time(lambda: _validate(path, n_lines))) for _ in range(rounds)]
    bare_s, ours_s = (statistics.median(times) for times in zip(*pairs, strict=True))
    return statistics.median(bare / ours for bare, ours in pairs), ours_s, bare_s


def _parse(path: Path) -> None:
    with path.open("rb") as lines:
        for line in lines:
            orjson.loads(line)


def _validate(path: Path, n_lines: int) -> None:
    found = find_faults(path, 10)
    if found.faults or found.n_examples != n_lines:
        raise RuntimeError("the file is valid, but was not found to be")


def _time(act: Callable[[], None]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _write(path: Path, make_row: Callable[[Callable[[float], str]], Any], n_lines: int) -> int:
    """Rows as Python writes them, with texts of shares of what a line is to hold. Gives the size in bytes."""
    source = random.Random(0)

    def text(share: float) -> str:
        words = " ".join(source.choices(_WORDS, k=int(share * _LINE_BYTES / 4)))
        return words[: int(share * _LINE_BYTES)]

    with path.open("w", encoding="utf-8") as file:
        for _ in range(n_lines):
            file.write(json.dumps(make_row(text), ensure_ascii=False) + "\n")
    return path.stat().st_size


def _chat(text: Callable[[float], str]) -> Any:
    roles = ("system", "user", "assistant", "user", "assistant")
    return {"messages": [{"role": role, "content": text(0.155)} for role in roles]}


def _alpaca(text: Callable[[float], str]) -> Any:
    return {"instruction": text(0.2), "input": text(0.3), "output": text(0.45)}


def _pair(text: Callable[[float], str]) -> Any:
    return {"prompt": text(0.5), "completion": text(0.46)}


def _sharegpt(text: Callable[[float], str]) -> Any:
    return {"conversations": [{"from": role, "value": text(0.2)} for role in ("human", "gpt", "human", "gpt")]}


def _anthropic(text: Callable[[float], str]) -> Any:
    messages = [{"role": role, "content": text(0.19)} for role in ("user", "assistant", "user", "assistant")]
    return {"system": text(0.05), "messages": messages}


def _tool_calls(text: Callable[[float], str]) -> Any:
    function = {"name": "track", "arguments": '{"parcel": 7, "since": "Monday"}'}
    parameters = {"type": "object", "properties": {"parcel": {"type": "integer"}, "since": {"type": "string"}}}
    return {
        "messages": [
            {"role": "user", "content": text(0.1)},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": text(0.1)},
            {"role": "assistant", "content": text(0.15)},
        ],
        "tools": [{"type": "function", "function": {"name": "track", "description": "", "parameters": parameters}}],
    }


_ROWS = {
    "chat, five messages": _chat,
    "prompt/completion": _pair,
    "Alpaca": _alpaca,
    "ShareGPT, four turns": _sharegpt,
    "Anthropic, four messages": _anthropic,
    "chat with a tool and a call": _tool_calls,
}
