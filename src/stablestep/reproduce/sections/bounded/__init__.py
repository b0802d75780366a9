"""Steps that are bounded whatever the gradient: signs with and without momentum, normalized steps, and discrete theorems."""

import numpy as np

from stablestep import plot
from stablestep.report import Figure, Section
from stablestep.reproduce.context import Context
from stablestep.reproduce.sections.bounded.discrete import (
    dcsgd_discrete,
    pathwise_sides,
    sign_discrete,
    sign_sides,
    table,
)
from stablestep.reproduce.sections.bounded.normalized import EIGENVALUES, Plateaus, no_threshold, plateaus
from stablestep.reproduce.sections.bounded.signum import levels, predicted_ratio, ratio, signum_better

WORDS = [
    "A message of bounded length cannot blow up: instead of a critical step there is a plateau, in proportion to the step. Under (L0, L1)-"
    "smoothness the remainder of a step of length ρ is at most (L0 + L1‖∇f‖)(e^{L1ρ} − 1 − L1ρ)/L1², which turns the "
    "theorems on SDEs into theorems on the discrete methods.",
]


def run(context: Context) -> Section:
    found = levels(context)
    context.progress(0.5)
    flat = plateaus(context)
    normalized = no_threshold(flat, context)
    context.progress(0.7)
    signs, compressed = sign_sides(context), pathwise_sides(context)
    return Section(
        id="bounded",
        title="Bounded steps: signs, momentum and normalization",
        paragraphs=WORDS,
        figures=[_figure(found, flat)],
        tables=[table([*signs, *compressed])],
        claims=[signum_better(found, context), normalized, sign_discrete(signs), dcsgd_discrete(compressed)],
        parameters={
            "Signum": f"x²/2, σ = 1, η = {0.005 if context.quick else 0.002:g}, at rest",
            "normalized": "quadratic with eigenvalues 1, 0.3, 0.1; ‖x‖²/2, d = 10, σ = 1; cosh x",
            "discrete.sign": "η = 0.1, η_t = (1+t)^-½",
            "discrete.dcsgd": "ω = 4, L0 = 1, L1 = 2, no gradient noise, 300 steps",
        },
    )


def _figure(found: dict, flat: Plateaus) -> Figure:
    figure, (left, right) = plot.panels(1, 2, width=5.8)
    kinds = (("Gaussian", False, "equal η"), ("Gaussian", True, "equal speed"), ("Cauchy", False, "equal η"))
    line = np.linspace(0, 0.96, 80)
    for (name, rescaled, words), color in zip(kinds, plot.CATEGORIES):
        predicted = [predicted_ratio(name, beta, rescaled) for beta in line]
        left.semilogy(line, predicted, color=color, lw=1.6, label=f"{name} noise, {words}")
        betas = sorted(beta for one, beta, other in found if (one, other) == (name, rescaled))
        values = [ratio(found, name, beta, rescaled) for beta in betas]
        left.errorbar(betas, *np.array(values).T, fmt="o", color=color, ms=6)
    left.axhline(1.0, color="0.4", lw=1, ls=":")
    left.set(xlabel="momentum β", ylabel="plateau of Signum / that of the sign")
    etas = sorted(flat.norms)
    top = max(EIGENVALUES)
    steps = np.geomspace(min(etas) / 2, 2 * max(etas), 10)
    right.loglog(steps, top * steps / 2, color=plot.CATEGORIES[0], lw=1.6, label="λη/2")
    right.loglog(etas, [flat.norms[eta] for eta in etas], "o", color=plot.CATEGORIES[0], ms=7, label="simulated")
    right.axvspan(2 / top, steps[-1], color="0.5", alpha=0.15, lw=0, label="gradient descent diverges")
    right.set(
        xlabel="η", ylabel="mean of ‖∇f‖, late", xlim=(steps[0], steps[-1]), title="Normalized steps on a quadratic"
    )
    left.set(title="Momentum before the sign, x²/2")
    for ax in (left, right):
        plot.dress(ax)
    caption = (
        "Left: lines are the law as η → 0, points are simulated. Momentum before the sign raises the plateau at equal "
        "η; at equal speed it lowers it a little under Gaussian noise; under Cauchy noise it only costs. Right: a "
        "normalized step of any size settles at ‖∇f‖ = λη/2."
    )
    return Figure("bounded_plateaus", figure, caption)
