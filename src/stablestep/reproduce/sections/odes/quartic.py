"""The three ODEs on x⁴/4: where they explode, and when."""

import math

import numpy as np

from stablestep import plot, problem
from stablestep.claim import Check, Claim
from stablestep.report import Figure
from stablestep.reproduce.sections.odes.flow import KINDS, descend, flow


def on_quartic() -> list[Claim]:
    f = problem.Quartic(1)
    checks = []
    for x0, time in ((0.5, 1.0), (1.0, 3.0), (2.0, 10.0)):
        predicted = 1 / (4 * (2 * time + x0**-2) ** 2)
        value = float(flow(f, "first", 0.1, x0, time).loss[-1])
        checks.append(Check(value, 0.0, predicted, "=", 1e-7 * predicted, label=f"f(X_t), X0 = {x0:g}, t = {time:g}"))
    first = Claim("ode.quartic.first", "P 42", "x⁴/4, first-order ODE: f = 1/(4(2t + X0⁻²)²).", tuple(checks))
    found = []
    for product, diverges in ((1.98, 0.0), (2.02, 1.0)):
        lost = float(descend(f, 1.0, math.sqrt(product), 2000, record=9).diverged[-1])
        found.append(Check(lost, 0.0, diverges, "=", label=f"gradient descent diverges, ηx0² = {product:g}"))
    for product, diverges in ((0.66, 0.0), (0.68, 1.0), (10.0, 1.0)):
        lost = float(np.isfinite(flow(f, "new", 1.0, math.sqrt(product), 50.0).explosion))
        found.append(Check(lost, 0.0, diverges, "=", label=f"new ODE explodes, ηX0² = {product:g}"))
    for kind in ("first", "classic"):
        lost = float(np.isfinite(flow(f, kind, 1.0, 10.0, 50.0).explosion))
        found.append(Check(lost, 0.0, 0.0, "=", label=f"{kind} ODE explodes, ηX0² = 100"))
    for square, eta in ((1.0, 1.0), (4.0, 0.5), (1.0, 0.7)):
        when = flow(f, "new", eta, math.sqrt(square), 2.0).explosion
        label = f"time of the explosion, X0² = {square:g}, η = {eta:g}"
        found.append(Check(when, 0.0, blow_up(square, eta), "=", 1e-6, label=label))
    second = Claim(
        "ode.quartic.instability",
        "P 43-44, A.3.2",
        "x⁴/4: gradient descent explodes for large ηx²; the first-order and classic ODE never do, the new ODE does.",
        tuple(found),
        detail="The thresholds differ: gradient descent contracts for ηx² < 2, the new ODE for ηx² < 2/3 only.",
    )
    return [first, second]


def blow_up(square: float, eta: float) -> float:
    """T* = −1/(2X0²) − (3η/4) ln(1 − 2/(3ηX0²)), the explosion time of the new ODE on x⁴/4.

    >>> round(blow_up(1.0, 1.0), 8)
    0.32395922
    """
    return -1 / (2 * square) - 3 * eta / 4 * math.log1p(-2 / (3 * eta * square))


def quartic_figure() -> Figure:
    figure, axes = plot.panels(1, 2)
    f = problem.Quartic(1)
    for ax, product in zip(axes, (0.6, 1.2)):
        for kind, color in zip(KINDS, plot.CATEGORIES):
            path = flow(f, kind, 1.0, math.sqrt(product), 8.0)
            finite = np.isfinite(path.loss)
            ax.plot(path.time[finite], path.loss[finite], color=color, lw=1.8, label=f"{kind} ODE")
        descent = descend(f, 1.0, math.sqrt(product), 8)
        ax.plot(descent.time, descent.loss_mean, "o", ms=5, color="black", label="gradient descent")
        ax.set(xlabel="t = kη", ylabel="f(x)", yscale="log", ylim=(1e-5, 1e2), title=f"x⁴/4, ηx0² = {product:g}")
    for ax in axes:
        plot.dress(ax)
    caption = "x⁴/4 with η = 1. At ηx0² = 1.2 gradient descent still converges, the new ODE explodes: its threshold is 2/3, not 2."
    return Figure("odes_quartic", figure, caption)
