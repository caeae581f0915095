"""Small plots as SVG; colours and fonts are the page's."""

from collections.abc import Sequence
from html import escape
from math import ceil

from trainer.contract.report import Histogram

_WIDTH, _HEIGHT, _FOOT, _HEAD = 440, 170, 22, 16
_ROW, _LABEL, _VALUE = 22, 90, 60
_LETTER = 6.5  # width


def bars(histogram: Histogram) -> str:
    """How many examples are in each bin; below each bar where its bin begins."""
    counts, edges = histogram.counts, histogram.edges
    highest = max(*counts, 1)
    slot = _WIDTH / len(counts)
    plot_height = _HEIGHT - _FOOT - _HEAD
    every = ceil(_LETTER * max(len(f"{_short(edge)}+ ") for edge in edges) / slot)
    parts = []
    for number, (count, edge) in enumerate(zip(counts, edges, strict=False)):
        height = plot_height * count / highest
        left, top, middle = number * slot + 2, _HEIGHT - _FOOT - height, (number + 0.5) * slot
        told = f"{count:,} of {edge:,} to {edges[number + 1] - 1:,}"
        parts.append(_bar(left, top, max(slot - 4, 1), height, told))
        if count and slot >= _LETTER * len(f"{count:,}"):
            parts.append(_text(middle, top - 4, f"{count:,}", "value", "middle"))
        if number % every == 0:
            parts.append(_text(middle, _HEIGHT - 6, f"{_short(edge)}+", "label", "middle"))
    floor = _HEIGHT - _FOOT
    axis = f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{floor}" y2="{floor}"/>'
    return _svg(_HEIGHT, axis + "".join(parts))


def shares(named: Sequence[tuple[str, int]]) -> str:
    """A bar for each name, as long as its number is large."""
    largest = max(*(count for _, count in named), 1)
    room = _WIDTH - _LABEL - _VALUE
    parts = []
    for number, (name, count) in enumerate(named):
        top = number * _ROW
        width = room * count / largest
        parts.append(_text(0, top + 15, name, "label", "start"))
        parts.append(_bar(_LABEL, top + 4, width, _ROW - 8, f"{count:,}"))
        parts.append(_text(_LABEL + width + 6, top + 15, f"{count:,}", "value", "start"))
    return _svg(_ROW * len(named), "".join(parts))


def _bar(x: float, y: float, width: float, height: float, told: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="bar" {place} rx="2"><title>{escape(told)}</title></rect>'


def _text(x: float, y: float, words: str, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _short(number: int) -> str:
    return str(number) if number < 10_000 else f"{number // 1000}k"


def _svg(height: int, inside: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">{inside}</svg>'
