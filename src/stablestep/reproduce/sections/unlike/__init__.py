"""Clients with data of their own: what compression, masks and signs then cost, and what repairs them."""

import numpy as np

from stablestep import plot
from stablestep.report import Figure, Section
from stablestep.reproduce.context import Context
from stablestep.reproduce.sections.unlike.clients import COUNT, DIM, OMEGA, SPREAD
from stablestep.reproduce.sections.unlike.floors import METHODS, NONE, dcsgd, floors, leading, shared_mask
from stablestep.reproduce.sections.unlike.signs import NOISES, Votes, het_sign, root, votes

WORDS = [
    "Where clients differ, their gradients do not vanish at the minimum of f, and what compression makes of them does "
    "not either. DCSGD with masks of its own has a floor in proportion to η, error feedback one in proportion to η², "
    "EF21 none; and none either has DCSGD with one mask for all. Signs go to a median: no step, no schedule and no "
    "normalization repairs that.",
]


def run(context: Context) -> Section:
    levels = floors(context)
    context.progress(0.5)
    own, shared = dcsgd(context), shared_mask(levels, context)
    context.progress(0.8)
    voted = votes(context)
    return Section(
        id="unlike",
        title="Unlike clients",
        paragraphs=WORDS,
        figures=[_figure(levels, voted)],
        claims=[own, shared, het_sign(voted)],
        parameters={
            "masks": f"f_i = ½‖x − c_i‖², N = {COUNT}, d = {DIM}, ω = {OMEGA:g}, ζ² = {SPREAD:.4g}, until t = 25",
            "signs": "f_i = ½(x − c_i)², c = (0, 0, 3), η = 0.01",
        },
    )


def _figure(levels: dict, voted: Votes) -> Figure:
    figure, (left, middle, right) = plot.panels(1, 3, width=4.8)
    for name, color in zip(METHODS, plot.CATEGORIES):
        etas = sorted(eta for one, eta in levels if one == name)
        if not etas:
            continue
        # Below the lowest tick lies what is 0 to rounding.
        values = [max(levels[name, eta][0], 1e-7) for eta in etas]
        gone = levels[name, etas[0]][0] < NONE
        marker = {"EF21, Top-1": "s", "DCSGD, common mask": "v"}.get(name, "o")
        left.loglog(
            etas,
            values,
            marker,
            color=color,
            ms=7 if gone else 6,
            label=f"{name}{': none' if gone else ''}",
            clip_on=False,
        )
        known = [leading(name, eta) for eta in etas]
        if None not in known:
            left.loglog(etas, known, color=color, lw=1.4)
    left.set(xlabel="η", ylabel="E f − f* at rest", title="No gradient noise", ylim=(1e-7, 30))
    sigmas = np.geomspace(0.2, 12, 60)
    for name, color in zip(NOISES, plot.CATEGORIES):
        middle.semilogx(sigmas, [root(name, sigma) for sigma in sigmas], color=color, lw=1.6, label=f"{name} noise")
        known = sorted(sigma for one, sigma in voted.rests if one == name)
        middle.semilogx(known, [voted.rests[name, sigma][0] for sigma in known], "o", color=color)
    middle.axhline(1.0, color="0.4", lw=1, ls=":", label="minimum of f")
    middle.set(xlabel="noise σ", ylabel="E x at rest", title="Where signs rest, c = (0, 0, 3)")
    right.semilogy(voted.runaway.iteration, voted.runaway.loss_mean, color=plot.CATEGORIES[1], lw=1.8, label="signs")
    right.axhline(0.3503, color="0.4", lw=1, ls=":", label="minimum of f")
    right.set(xlabel="iteration", ylabel="f(x)", title="C4: the majority runs away")
    for ax in (left, middle, right):
        plot.dress(ax)
    left.legend(fontsize=8, framealpha=0.8, loc="upper left", ncols=2)
    caption = (
        "Left: points are simulated, lines the theory; what vanishes to rounding stands at the bottom. Middle: signs "
        "rest between median and mean; noise removes the bias. Right: two clients with log(1 + e⁻ˣ) outvote one with x²/2."
    )
    return Figure("unlike_floors", figure, caption)
