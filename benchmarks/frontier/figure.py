"""Loss against bytes and against steps in each task, and the performance profile."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.frontier.score import MARGIN, Score, profile
from stablestep.plot import CATEGORIES, panels

# As many as there are colours; the table has all.
PICTURED = ("adamw", "powersgd-2", "demo", "local-int8", "local-q2", "local-q2-muon", "local-q2-muon-mean")
MEGA = 1e6
HIGHEST = 1.6  # times the target


def figure(found: dict[str, Any], scores: Sequence[Score]) -> Figure:
    """Columns are tasks, and one for the profile and the legend."""
    tasks = list(found["tasks"])
    picture, axes = panels(2, len(tasks) + 1, 4.2, 3.4)
    pictured = [name for name in PICTURED if name in found["entrants"]]
    for column, task in enumerate(tasks):
        _curves(axes[:, column], task, found, pictured)
    _profile(axes[0, -1], profile(scores, pictured), found)
    axes[1, -1].axis("off")
    axes[1, -1].legend(*axes[0, -1].get_legend_handles_labels(), loc="upper left", frameon=False)
    return picture


def _curves(pair: np.ndarray, task: str, found: dict[str, Any], pictured: Sequence[str]) -> None:
    by_bytes, by_steps = pair
    target = MARGIN * found["curves"][task]["adamw"][-1][1]
    for name, color in zip(pictured, CATEGORIES):
        steps, losses, sent = np.array(found["curves"][task].get(name) or [[math.nan] * 3]).T
        by_bytes.plot(sent / MEGA, losses, color=color, lw=1.4)
        by_steps.plot(steps / found["tasks"][task]["steps"], losses, color=color, lw=1.4)
    by_bytes.set(xscale="log", xlabel="MB sent by each worker", title=found["tasks"][task]["title"])
    by_bytes.set_xlim(left=0.1)
    by_steps.set(xlabel="steps / T")
    for ax in pair:
        ax.axhline(target, color="black", lw=0.8, ls=":")
        _losses(ax, target)


def _losses(ax: Axes, target: float) -> None:
    ax.set(ylim=(0.95 * target, HIGHEST * target), ylabel="held-out loss")
    ax.grid(alpha=0.25, lw=0.6)


def _profile(ax: Axes, ratios: dict[str, list[float]], found: dict[str, Any]) -> None:
    """The share of tasks whose target an entrant meets with at most τ times the least bytes."""
    for (name, each), color in zip(ratios.items(), CATEGORIES):
        times = sorted(value for value in each if math.isfinite(value))
        shares = np.arange(len(times) + 1) / len(each)
        label = found["entrants"][name]["title"]
        ax.step([1, *times, 1e3], [0, *shares[1:], shares[-1]], where="post", color=color, lw=1.4, label=label)
    ax.set(
        xscale="log", xlim=(1, 1e3), ylim=(-0.03, 1.03), xlabel="bytes / least of all", ylabel="share of targets met"
    )
    ax.set_title("performance profile")
    ax.grid(alpha=0.25, lw=0.6)
