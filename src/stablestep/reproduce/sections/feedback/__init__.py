"""Error feedback: what it is in the mean, how large its steps may be, and what it makes of noise."""

import numpy as np

from stablestep import plot, theorem
from stablestep.report import Figure, Section
from stablestep.reproduce.context import Context
from stablestep.reproduce.sections.feedback.alpha import Steps, alpha_tight, constants, observed
from stablestep.reproduce.sections.feedback.noise import STEP, P, amplifications, no_omega, repairs
from stablestep.reproduce.sections.feedback.setups import dcsgd_edge, ef_edge
from stablestep.reproduce.sections.feedback.steps import is_momentum, larger_steps, simulated_edges
from stablestep.sde.memory import held_average
from stablestep.theorem.ef import necessary

WORDS = [
    "With random masks error feedback is momentum in the mean, β = 1−p. It takes ω out of the noise at rest, and with "
    "many agents it allows larger steps than unbiased compression; with few it does not. EF21-SGD has the same "
    "critical step, but multiplies the noise by (2−p)/p; an average of the gradients before it repairs that.",
    "What a guarantee can say that knows only α is nearly exhausted by ηL < 2/(1 + √(1 + 4r²)), and is far below what Top-k does.",
]


def run(context: Context) -> Section:
    edges = simulated_edges(context)
    context.progress(0.4)
    levels = amplifications(context)
    noise = no_omega(context)
    context.progress(0.7)
    found = observed(context)
    return Section(
        id="feedback",
        title="Error feedback",
        paragraphs=WORDS,
        figures=[_figure(edges, levels, found)],
        claims=[is_momentum(context), larger_steps(edges), noise, repairs(levels), alpha_tight(found, context)],
        parameters={
            "edges": "‖x‖²/2, no gradient noise, random masks that keep a coordinate with probability p",
            "noise": f"x²/2, σ = 1, p = {P:g}; simulated with η = {STEP:g} (κ) and 0.02",
            "α": "‖x‖²/2, N = 1, no noise, 2000 steps",
        },
    )


def _figure(edges: dict, levels: dict, found: Steps) -> Figure:
    figure, axes = plot.panels(2, 2, width=5.8, height=4.0)
    by_count, by_p, noise, alpha = axes.flat
    counts, ps = np.geomspace(1, 100, 100), np.linspace(0.03, 1, 100)
    for p, color in zip((0.1, 0.25), plot.CATEGORIES):
        by_count.loglog(counts, [ef_edge(p, n) for n in counts], color=color, lw=1.8, label=f"EF and EF21, p = {p:g}")
        by_count.loglog(
            counts, [dcsgd_edge(p, n) for n in counts], color=color, lw=1.2, ls="--", label=f"DCSGD, p = {p:g}"
        )
        known = sorted(n for one, n in edges if one == p)
        by_count.loglog(known, [edges[p, n] for n in known], "o", color=color)
    by_count.set(xlabel="agents N", ylabel="critical ηλ", title="Larger steps with many agents only")
    for count, color in zip((1, 4, 16), plot.CATEGORIES[2:]):
        by_p.plot(ps, [ef_edge(p, count) for p in ps], color=color, lw=1.8, label=f"EF and EF21, N = {count}")
        by_p.plot(ps, [dcsgd_edge(p, count) for p in ps], color=color, lw=1.2, ls="--")
        known = sorted(p for p, n in edges if n == count)
        by_p.plot(known, [edges[p, count] for p in known], "o", color=color)
    by_p.set(xlabel="kept fraction p", ylabel="critical ηλ", title="The same against p (dashed: DCSGD)")
    mus = np.geomspace(0.005, 1, 100)
    for p, color in zip((P, 0.25, 0.5), plot.CATEGORIES):
        noise.loglog(mus, [held_average(mu, p) for mu in mus], color=color, lw=1.8, label=f"EF21-SGDM, p = {p:g}")
        noise.axhline(1 / p, color=color, lw=1, ls="--")
    noise.errorbar(levels.keys(), *np.array(list(levels.values())).T, fmt="o", color=plot.CATEGORIES[0])
    noise.set(xlabel="μ", ylabel="noise at rest / that of SGD", title="Noise amplification κ (dashed: DCSGD, 1+ω)")
    alphas = np.linspace(0.02, 0.99, 100)
    alpha.semilogy(
        alphas, [necessary(constants(a)) for a in alphas], color=plot.CATEGORIES[1], lw=1.6, label="necessary"
    )
    alpha.semilogy(
        alphas,
        [theorem.step_limit("ef", constants(a)) for a in alphas],
        color=plot.CATEGORIES[0],
        lw=1.6,
        ls="--",
        label="sufficient",
    )
    alpha.semilogy(
        found.worst.keys(), found.worst.values(), "o", color=plot.CATEGORIES[1], label="worst case, simulated"
    )
    alpha.semilogy(
        [1 / d for d in found.tops],
        found.tops.values(),
        "s",
        color=plot.CATEGORIES[2],
        label="Top-1, α = 1/d, simulated",
    )
    alpha.set(xlabel="α", ylabel="critical ηL", title="What α alone can tell")
    for ax in axes.flat:
        plot.dress(ax)
    plot.plain_ticks(noise.yaxis)
    caption = (
        "Lines are exact, points simulated. Above: mean-square edges; error feedback beats unbiased compression for N "
        "> 1/p + ½ only. Below left: EF21-SGD (μ = 1) amplifies gradient noise, an average before it repairs that. "
        "Below right: the sufficient and the necessary step for a given α all but meet for α ≤ ½; Top-1 needs neither."
    )
    return Figure("feedback_edges", figure, caption)
