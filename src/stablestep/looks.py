"""The look of every picture: its colours, its grid, and a legend that can be read with twenty lines too."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

# Okabe and Ito's palette without its yellow, which is too light for a line on white.
CATEGORIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
CROWDED = 8  # entries beyond which the legend stands beside the axes
TWO_DECADES = 100.0
TALL = 20  # entries in one of its columns


def graded(count: int) -> list[Any]:
    """Shades of one colour scale, for what has an order."""
    return [tuple(shade) for shade in matplotlib.colormaps["viridis"](np.linspace(0.0, 0.85, count))]


def distinct(count: int) -> list[Any]:
    """Colours that all differ: those of a palette, or of more lines than it has, shades of one scale."""
    return list(CATEGORIES[:count]) if count <= len(CATEGORIES) else graded(count)


def dress(ax: Axes, alone: bool = False) -> Axes:
    """The look of every picture here: a light grid, no box, a legend of what is labelled.

    Beside the axes, if it is long; the figure may grow for it where they are `alone` in it.
    """
    plain(ax)
    if len(ax.get_legend_handles_labels()[1]) > CROWDED:
        return _beside(ax, alone)
    ax.legend(fontsize=9, framealpha=0.8)
    return ax


def plain(ax: Axes) -> None:
    """The look of every picture here, without a legend: a light grid, no box."""
    ax.grid(alpha=0.25, lw=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def legend_of(ax: Axes, alone: bool, title: str) -> Axes:
    """What the lines are: inside, below where they have more to say, or beside the axes where there are many (see `dress`)."""
    handles, labels = ax.get_legend_handles_labels()
    if len(labels) > CROWDED:
        return _beside(ax, alone, title=title, alignment="left", title_fontsize=8)
    below: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (-0.01, -0.17), "frameon": False}
    place = below if any("diverged" in label for label in labels) else {"loc": "best", "framealpha": 0.8}
    ax.legend(handles, labels, title=title, alignment="left", fontsize=9, title_fontsize=9, **place)
    return ax


def _beside(ax: Axes, alone: bool, **settings: Any) -> Axes:
    """A long legend to the right, in columns."""
    handles, labels = ax.get_legend_handles_labels()
    columns = -(-len(labels) // TALL)
    if alone:
        width, height = ax.figure.get_figwidth(), ax.figure.get_figheight()  # pyright: ignore[reportAttributeAccessIssue]
        ax.figure.set_size_inches(width + columns * (0.5 + 0.06 * max(map(len, labels))), height)  # pyright: ignore
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
    ax.legend(handles, labels, fontsize=8, labelspacing=0.25, frameon=False, ncols=columns, **place, **settings)
    return ax


def plain_ticks(axis: Axis) -> None:
    """Numbers such as 0.5 and 20 on a logarithmic axis, at 1, 2 and 5 times the powers of ten."""
    if axis.get_scale() == "log":
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def short_ticks(axis: Axis) -> None:
    """`plain_ticks`, where a logarithmic axis spans less than two decades."""
    low, high = axis.get_view_interval()
    if high < TWO_DECADES * low:
        plain_ticks(axis)


def percent(fraction: float) -> str:
    """A fraction in words.

    >>> percent(0.0432), percent(1.0)
    ('4.3 %', '100 %')
    """
    return f"{100 * fraction:.{0 if fraction in (0, 1) else 2 if fraction < 0.0095 else 1}f} %"
