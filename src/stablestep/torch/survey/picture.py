"""The picture of a probe: curvature, noise and tail, each against what the theory says it follows."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stablestep.plot import CATEGORIES, panels

BLUE, RED, GREEN, *_ = CATEGORIES


def draw(advice: Any) -> Figure:
    """Three panels for a `SurveyReport`."""
    figure, axes = panels(1, 3, width=4.6, height=3.7)
    _curvature(axes[0], advice)
    _noise(axes[1], advice)
    _tail(axes[2], advice)
    return figure


def _curvature(ax: Axes, advice: Any) -> None:
    points = advice.points
    for descent, color, label in ((True, BLUE, "on the descent"), (False, RED, "past a step that is too large")):
        chosen = [point for point in points if point.descent is descent]
        ax.plot(
            [p.gradient_norm for p in chosen], [p.curvature for p in chosen], "o", color=color, label=f"‖∇²f‖, {label}"
        )
    ax.plot([p.gradient_norm for p in points], [p.along for p in points], "x", color=GREEN, label="along the gradient")
    norms = np.array([0.0, max(p.gradient_norm for p in points)])
    fit = advice.smoothness
    ax.plot(norms, fit(norms), color="black", lw=1.2, label=f"L0 + L1‖∇f‖, {fit.L0.value:.3g} + {fit.L1.value:.3g}‖∇f‖")
    _dress(ax, "‖∇f‖", "curvature", "Curvature and its envelope")


def _noise(ax: Axes, advice: Any) -> None:
    norms, spread = np.array([p.gradient_norm for p in advice.points]), [p.variance for p in advice.points]
    ax.plot(norms, spread, "o", color=BLUE, label="measured")
    grid = np.linspace(0, norms.max(), 100)
    fit = advice.variance
    label = f"σ0² + σ1²‖∇f‖², {fit.sigma0_sq.value:.2g} + {fit.sigma1_sq.value:.2g}‖∇f‖²"
    ax.plot(grid, fit(grid**2), color="black", lw=1.2, label=label)
    _dress(ax, "‖∇f‖", "variance of a coordinate", "Noise of one worker")


def _tail(ax: Axes, advice: Any) -> None:
    found = advice.tail
    if found is None:
        ax.text(0.5, 0.5, "no noise between batches", ha="center", transform=ax.transAxes)
        ax.set_axis_off()
        return
    ax.semilogx(found.shares, found.indices, "o-", color=BLUE, label="Hill's estimate")
    if np.isfinite(found.nu.value) and found.nu.value <= 2 * max(found.indices):
        ax.axhline(found.nu.value, color="black", lw=1.2, label=f"Student-t, ν = {found.nu.value:.3g}")
    ax.axhline(2, color=RED, lw=1, ls="--", label="below it, no variance")
    ax.set_xticks([0.002, 0.005, 0.01, 0.02, 0.05], labels=["0.2 %", "0.5 %", "1 %", "2 %", "5 %"], minor=False)
    ax.minorticks_off()
    _dress(ax, "share of the largest residuals", "tail index", "Tail of the noise")


def _dress(ax: Axes, xlabel: str, ylabel: str, title: str) -> None:
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    low, high = ax.get_ylim()
    # Room for the legend above the data.
    ax.set_ylim(min(0.0, low), high + 0.35 * (high - low))
    ax.legend(fontsize=8, framealpha=0.8, loc="upper left")
