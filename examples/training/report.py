"""What a training record says, as a table and as a picture."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from stablestep.looks import CATEGORIES, plain, short_ticks
from stablestep.plot import panels

HEADROOM = 2.0  # a diverging loss is followed up to this many times that of the start
MEGA = 1e6


def table(record: dict[str, Any]) -> None:
    """Print a line for each method: its last losses, the accuracy on held-out data, and what each worker sent."""
    sheet = Table(title=_title(record), box=SIMPLE, pad_edge=False, collapse_padding=True)
    sheet.add_column("method", no_wrap=True)
    for column in ("lr", "steps", "loss", "accuracy", "MB sent", "skipped"):
        sheet.add_column(column, justify="right", no_wrap=True)
    for method in record["methods"]:
        sheet.add_row(*_cells(method))
    Console().print(sheet)


def _title(record: dict[str, Any]) -> str:
    return f"{record['task']}: {record['parameters']:,} parameters, {record['workers']} workers"


def _cells(method: dict[str, Any]) -> list[str]:
    return [
        method["name"],
        f"{method['lr']:g}",
        str(method["curve"]["step"][-1] + 1),
        "diverged" if method["diverged"] else f"{method['final_loss']:.3g}",
        "–" if method["diverged"] else f"{method['held_out']['accuracy']:.1%}",
        f"{method['bytes_sent'] / MEGA:.3g}",
        f"{method['skipped']:.0f}",
    ]


def figure(record: dict[str, Any]) -> Figure:
    """Loss against steps, and against the bytes that each worker sent."""
    picture, (by_step, by_bytes) = panels(1, 2)
    curves = [method["curve"] for method in record["methods"]]
    ceiling = HEADROOM * curves[0]["loss"][0]
    for method, curve, color in zip(record["methods"], curves, CATEGORIES):
        loss = np.array([np.inf if value is None else value for value in curve["loss"]])
        _line(by_step, np.array(curve["step"]) + 1, loss, ceiling, method["name"], color)
        _line(by_bytes, np.array(curve["bytes"]) / MEGA, loss, ceiling, method["name"], color)
    by_step.set(xlabel="step", ylabel="training loss")
    by_bytes.set(xlabel="MB sent by each worker", xscale="log")
    by_bytes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    picture.legend(*by_bytes.get_legend_handles_labels(), loc="outside right upper", frameon=False)
    picture.suptitle(_title(record))
    for ax in (by_step, by_bytes):
        _loss_axis(ax, ceiling)
    return picture


def _line(ax: Axes, x: np.ndarray, loss: np.ndarray, ceiling: float, label: str, color: str) -> None:
    """The curve; where it leaves the picture for good it ends in a triangle."""
    stop = int(np.flatnonzero(loss <= ceiling).max()) + 1
    diverges = stop < len(loss)
    shown = slice(0, stop + diverges)
    ax.plot(
        x[shown],
        np.minimum(loss, ceiling)[shown],
        color=color,
        lw=1.5,
        label=label + ": diverges" if diverges else label,
    )
    if diverges:
        ax.plot(x[stop], ceiling, marker="^", ms=9, color=color, mec="white", clip_on=False, zorder=5)


def _loss_axis(ax: Axes, ceiling: float) -> None:
    ax.set_yscale("log")
    ax.set_ylim(top=ceiling)
    short_ticks(ax.yaxis)
    plain(ax)
