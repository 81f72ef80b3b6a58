"""Draws the picture of the mean delays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from benchmarks.simulation.bounds import LOWER_BOUND
from benchmarks.simulation.grid import (
    BACKOFF,
    EDF,
    FIXED,
    FIXED_BUCKET,
    OURS,
    OURS_BLIND,
    Results,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@frozen
class Style:
    """How the marks of a variant are drawn."""

    label: str
    marker: str
    colour: str
    filled: bool = True
    size: float = 42.0


# Colours of medium brightness, because the picture is transparent: it is shown on white as well as
# on black.
_GREY = "#7d8590"
_GREEN = "#1fa566"
_STYLES = {
    FIXED: Style("loops, 5 s", "s", "#d0604a"),
    BACKOFF: Style("loops, back-off", "D", "#bd8a1e", size=36),
    FIXED_BUCKET: Style("loops, 5 s, token bucket", "v", "#a273c9"),
    EDF: Style("most overdue first", "^", "#3b8bd4"),
    OURS_BLIND: Style("ours, types unknown", "o", _GREEN, filled=False, size=112),
    OURS: Style("ours", "o", _GREEN, size=50),
}
_BOUND = Style("lower bound", "|", _GREY, size=200)
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_SIZE = (8.4, 6.6)
"""Inches; at 100 dots per inch, the width of a README without scaling."""


def draw(results: Results, rows: Sequence[str], path: Path) -> None:
    """Write the picture of *rows* to *path*, as SVG."""
    # Imported here, so that the tables do not need matplotlib.
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams.update({"svg.hashsalt": "delays", "font.size": 10.5})
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    for variant, style in _STYLES.items():
        _scatter(axes, style, [results[row, variant].mean for row in rows])
    _scatter(axes, _BOUND, [LOWER_BOUND.get(row, math.nan) for row in rows])
    _label_axes(axes, rows)
    figure.legend(
        loc="outside upper center", ncols=4, frameon=False, labelcolor=_GREY, fontsize=9.5
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})


def _scatter(axes: Axes, style: Style, means: Sequence[float]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415

    axes.scatter(
        means,
        range(len(means)),
        label=style.label,
        marker=style.marker,
        s=style.size,
        c=style.colour if style.filled else "none",
        edgecolors=style.colour if style.marker in Line2D.filled_markers else None,
        linewidths=1.6,
        zorder=3,
    )


def _label_axes(axes: Axes, rows: Sequence[str]) -> None:
    """Label the rows and the axis of seconds."""
    axes.set_xscale("log")
    axes.set_xlabel("mean delay from the end of a task until the client knows, in seconds")
    axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.minorticks_off()
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.tick_params(colors=_GREY, length=0)
    axes.xaxis.label.set_color(_GREY)
    axes.grid(color=_GREY, alpha=0.3, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
