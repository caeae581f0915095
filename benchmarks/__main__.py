"""Ratios, each measured in one run: `python -m benchmarks [NAME …]`, all without a name.

A ratio says the same on a slow machine and on a busy one; the times beside it do not.
`python -m benchmarks gpu [--tiny] [PART …]` is run by its name alone: it wants a GPU to itself.
"""

import sys

from benchmarks import (
    batches,
    decisions,
    engine,
    gate,
    gpu,
    isolation,
    layouts,
    lists,
    memory,
    ranks,
    relay,
    uploads,
    validation,
)

BENCHMARKS = {
    "decisions": decisions.main,
    "uploads": uploads.main,
    "lists": lists.main,
    "validation": validation.main,
    "gate": gate.main,
    "layouts": layouts.main,
    "memory": memory.main,
    "relay": relay.main,
    "engine": engine.main,
    "ranks": ranks.main,
    "isolation": isolation.main,
    "batches": batches.main,
}


def main(names: list[str]) -> int:
    if names and names[0] == "gpu" and set(names[1:]) <= {"--tiny", *gpu.PARTS}:
        gpu.main([part for part in gpu.PARTS if part in names] or gpu.PARTS, tiny="--tiny" in names)
        return 0
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"There is no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}, and gpu.", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
