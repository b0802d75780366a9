"""Momentum: critical steps of compressed heavy ball, and where its models must start."""

import numpy as np

from stablestep import plot
from stablestep.report import Figure, Section
from stablestep.reproduce.context import Context
from stablestep.reproduce.sections.memory.heavy_ball import (
    AGENTS,
    OMEGA,
    SIMULATED,
    Edges,
    edges,
    first_order_limit,
    hb_threshold,
    larger_steps,
    threshold,
)
from stablestep.reproduce.sections.memory.orders import EFFECTIVE, Orders, order_start, orders_of

WORDS = [
    "Heavy ball averages the noise of compression over about 1/(1−β) steps, and its own effective step is η_e = "
    "η/(1−β). Its critical step on a quadratic is η_eλ = 2/(θ + a), θ = (1−β)/(1+β), a = ω/N: between that of P 4.2 (θ "
    "= 1) and that of P 4.1 (θ = 0), the analysis that forgets the curvature of the step.",
    "As continuous models all linear memories are the same up to one number, their delay τ. A memory that starts empty "
    "shifts the whole path; a model of second order has to know that.",
]


def run(context: Context) -> Section:
    found = edges(context)
    context.progress(0.6)
    measured = orders_of(context)
    return Section(
        id="memory",
        title="Momentum",
        paragraphs=WORDS,
        figures=[_figure(found, measured)],
        claims=[hb_threshold(found), first_order_limit(), larger_steps(found), order_start(measured)],
        parameters={
            "simulated edges": f"‖x‖²/2, d = 4096, N = {AGENTS}, a = {SIMULATED:g}",
            "as β → 1": f"ω = {OMEGA:g}, N = {AGENTS}",
            "x⁴/4": "4000 starts, ηx0² from 0.6 to 2.4, 1000 steps",
            "orders": f"x²/2, σ = 1, x0 = 1, t from ½ to 2, η_e = {', '.join(f'{eta:g}' for eta in EFFECTIVE)}",
        },
    )


def _figure(found: Edges, measured: Orders) -> Figure:
    figure, (left, middle, right) = plot.panels(1, 3, width=4.8)
    betas = np.linspace(0, 0.99, 200)
    for a, color in zip((0.0, 0.05, SIMULATED, 1.0), plot.CATEGORIES):
        left.semilogy(betas, [threshold(beta, a) for beta in betas], color=color, lw=1.6, label=f"quadratic, a = {a:g}")
    color = plot.CATEGORIES[2]
    left.semilogy(found.quadratic.keys(), found.quadratic.values(), "o", color=color, ms=6, label="simulated")
    left.semilogy(
        found.quartic.keys(), found.quartic.values(), "^--", color="0.35", ms=6, lw=1, label="x⁴/4 from rest, ηx0²"
    )
    left.set(xlabel="momentum β", ylabel="critical ηλ", title="In the step", ylim=(0.05, 6))
    for a, shade in ((SIMULATED, color), (1.0, plot.CATEGORIES[3])):
        effective = [threshold(beta, a) / (1 - beta) for beta in betas]
        middle.plot(betas, effective, color=shade, lw=1.6, label=f"a = {a:g}")
        middle.axhline(2 / a, color=shade, lw=1, ls="--")
        middle.axhline(2 / (1 + a), color=shade, lw=1, ls=":")
    shown = {beta: edge / (1 - beta) for beta, edge in found.quadratic.items()}
    middle.plot(shown.keys(), shown.values(), "o", color=color, ms=6, label="simulated")
    middle.set(xlabel="momentum β", ylabel="critical η_eλ", title="In the effective step (dashed 4.1, dotted 4.2)")
    name = "heavy ball, β = 0.8"
    for (kind, moved), words, shade in (
        (("first", True), "first order", plot.CATEGORIES[0]),
        (("classic", False), "classic, from x0", plot.CATEGORIES[1]),
        (("classic", True), "classic, from x0 + τη_e∇f", plot.CATEGORIES[2]),
    ):
        table = measured[name, kind, moved]
        right.loglog(table.eta, np.abs(table.error), "o-", color=shade, label=f"{words}: slope {table.slope:.2f}")
    plot.plain_ticks(right.xaxis)
    right.set(xlabel="effective step η_e", ylabel="|E f(X) − E f(x)|, largest", title=f"Models of {name}")
    for ax in (left, middle, right):
        plot.dress(ax)
    caption = (
        "Left and middle: lines are exact mean-square edges, points are simulated. Momentum lets η grow only where the "
        "relative noise a is small, and on x⁴/4 it costs; the effective step always gains, up to the limit of the "
        "first-order theorem 4.1. Right: the model with delay is of second order only from the right start."
    )
    return Figure("memory_momentum", figure, caption)
