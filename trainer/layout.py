"""How the examples of one step are laid out in micro-batches (pure).

A micro-batch is a rectangle: examples of similar length, padded at the end, where causal attention needs no mask.
The loss is summed over all micro-batches and divided once, so that no layout changes what is learnt; it only changes
how much padding is computed. On a CPU this is as fast as packing into one row.
"""

from collections.abc import Sequence

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
