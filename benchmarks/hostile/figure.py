"""docs/hostile.png: every run's share of the tuned run's fall, by fault and design."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from stablestep.files import write_files

PICTURE = Path(__file__).parents[2] / "docs" / "hostile.png"
LOWEST = -0.5  # all that is worse is drawn here


def draw(shares: Mapping[str, Mapping[str, Sequence[float]]], path: Path = PICTURE) -> None:
    """Write it; shares of design and fault."""
    buffer = io.BytesIO()
    picture(shares).savefig(buffer, format="png", dpi=110)
    write_files({path: buffer.getvalue()})


def picture(shares: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """A panel for each fault: a column of runs for each design, and its median."""
    faults = list(next(iter(shares.values())))
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    axes = figure.subplots(2, -(-len(faults) // 2), sharex=True, sharey=True).flat
    for ax, fault in zip(axes, faults):
        for place, values in enumerate(one[fault] for one in shares.values()):
            clipped = np.clip(values, LOWEST, None)
            ax.scatter(place + np.linspace(-0.25, 0.25, len(clipped)), np.sort(clipped), s=6, color=f"C{place}")
            ax.plot([place - 0.35, place + 0.35], [np.median(clipped)] * 2, color="black", lw=1.5)
        ax.axhline(0.97, color="grey", lw=0.6, ls=":")
        ax.set_title(fault, fontsize=10)
        ax.set_xticks(range(len(shares)), list(shares), rotation=90, fontsize=8)
    axes[0].set_ylim(LOWEST - 0.05, 1.1)
    figure.supylabel(f"share of the tuned run's fall ({LOWEST:g}: that or worse)")
    return figure
