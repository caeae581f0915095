"""The losses of a run as a picture."""

import io
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

LOSS_CURVE = "loss_curve.png"

_Points = tuple[tuple[float, float], ...]

_MOST_POINTS = 500  # of a curve; more would not be seen
_LOCK = threading.Lock()  # matplotlib is not made for several threads
_CURVES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("train_loss", "training", {"color": "#4878a8", "linewidth": 1.2}),
    ("valid_loss", "validation, a part", {"color": "#d9822b", "linewidth": 1.0, "marker": ".", "markersize": 4}),
    ("full_valid_loss", "validation", {"color": "#b03a2e", "linewidth": 1.4, "marker": "o", "markersize": 4}),
)


def draw_loss_curve(steps: Sequence[Mapping[str, Any]]) -> bytes:
    """A PNG of every loss that was measured; the same steps give the same bytes."""
    curves = [[(int(step["step"]), float(step[name])) for step in steps if name in step] for name, _, _ in _CURVES]
    with _LOCK:
        return _draw(tuple(tuple(thin(points)) for points in curves))


@lru_cache(maxsize=32)
def _draw(curves: tuple[_Points, ...]) -> bytes:
    _give_matplotlib_a_cache()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.13, 0.87, 0.83))
    for points, (_, label, style) in zip(curves, _CURVES, strict=True):
        if points:
            axes.plot(*zip(*points, strict=True), label=label, **style)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats a token)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    if axes.has_data():
        axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 4})
    return picture.getvalue()


def thin(points: Sequence[tuple[int, float]], most: int = _MOST_POINTS) -> list[tuple[float, float]]:
    """Means over neighbours, so that there are no more than `most` points; the last one stays as it is."""
    if len(points) <= most:
        return [(float(step), loss) for step, loss in points]
    size = -(-(len(points) - 1) // (most - 1))
    groups = [points[start : start + size] for start in range(0, len(points) - 1, size)]
    means = [
        (sum(step for step, _ in group) / len(group), sum(loss for _, loss in group) / len(group)) for group in groups
    ]
    return [*means, (float(points[-1][0]), points[-1][1])]


def _give_matplotlib_a_cache() -> None:
    """Its list of fonts stays with the environment it belongs to, rather than in the user's home."""
    if os.access(sys.prefix, os.W_OK):
        os.environ.setdefault("MPLCONFIGDIR", str(Path(sys.prefix) / "cache" / "matplotlib"))
