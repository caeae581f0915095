"""How the examples of one step are laid out in micro-batches (pure).

A micro-batch is a rectangle, examples of similar length padded at the end, where causal attention needs no mask; or,
with packing, one row of several examples, each of which attends to itself alone. The loss is summed over all
micro-batches and divided once, so that no layout changes what is learnt; it only changes what is computed in vain:
padding in rectangles, attention between examples in rows.
"""

from collections.abc import Sequence

ROW_TOKENS = {"cpu": 512, "cuda": 2048}  # attention over a row costs its length squared
_MICRO_BATCH_OVERHEAD_TOKENS = 64  # what starting one more micro-batch costs, in tokens of computing


def lay_out(lengths: Sequence[int], *, budget_tokens: int) -> list[list[int]]:
    """Group the indices of `lengths` so that padding and the number of groups cost least.

    A group holds at most `budget_tokens`, padding included, or a single longer example.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    n = len(order)
    best_cost, best_end = [0] * (n + 1), [n] * (n + 1)  # of what starts at a position
    for start in range(n - 1, -1, -1):
        longest = lengths[order[start]]
        largest_end = min(n, start + max(1, budget_tokens // longest))
        best_cost[start], best_end[start] = min(
            (longest * (end - start) + _MICRO_BATCH_OVERHEAD_TOKENS + best_cost[end], end)
            for end in range(start + 1, largest_end + 1)
        )
    groups, start = [], 0
    while start < n:
        groups.append(order[start : best_end[start]])
        start = best_end[start]
    return groups


def fill_rows(lengths: Sequence[int], *, row_tokens: int) -> list[list[int]]:
    """Group the indices of `lengths` into rows of at most `row_tokens`, or of a single longer example.

    The longest first, each into the fullest row that still has room for it.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        fitting = [row for row, left in enumerate(room) if left >= lengths[index]]
        if fitting:
            row = min(fitting, key=lambda row: (room[row], row))
            rows[row].append(index)
            room[row] -= lengths[index]
        else:
            rows.append([index])
            room.append(row_tokens - lengths[index])
    return rows


def lay_out_long(
    lengths: Sequence[int], *, budget_tokens: int, row_tokens: int | None = None, at_once: int = 256
) -> list[list[int]]:
    """Lay out many examples in portions: finding the best layout takes time that grows with the square."""
    groups = []
    for start in range(0, len(lengths), at_once):
        portion = lengths[start : start + at_once]
        if row_tokens is None:
            laid_out = lay_out(portion, budget_tokens=budget_tokens)
        else:
            laid_out = fill_rows(portion, row_tokens=row_tokens)
        groups += [[start + index for index in group] for group in laid_out]
    return groups
