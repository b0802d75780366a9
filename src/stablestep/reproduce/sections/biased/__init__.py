"""Biased messages: where they stall or diverge, under which noise they have a floor, and what a memory repairs."""

import numpy as np

from stablestep import plot
from stablestep.report import Figure, Section
from stablestep.reproduce.context import Context
from stablestep.reproduce.rest import mean_square
from stablestep.reproduce.sections.biased.clipping import ROOTS, C, clip_bias, clipped
from stablestep.reproduce.sections.biased.counterexamples import Failures, counterexamples_of, failures
from stablestep.reproduce.sections.biased.top_one import METHODS, Rests, floor, rests

WORDS = [
    "A message that is not right in the mean can lead to the wrong point, or away from every point. Three known "
    "examples are run here, each with what repairs it, and each under two noises: the floors of clipping and of "
    "EF21-SGD with Top-1 need skewed noise. Under the coordinate-wise symmetric noise of the papers every odd, "
    "monotone message (signs, Top-k, clipping) points the right way, and the floors vanish.",
]


def run(context: Context) -> Section:
    failed = failures(context)
    context.progress(0.4)
    points = clipped(context)
    clip = clip_bias(points, context)
    context.progress(0.6)
    found = rests(context)
    return Section(
        id="biased",
        title="Biased messages: failures and floors",
        paragraphs=WORDS,
        figures=[_figure(failed, points, found)],
        claims=[counterexamples_of(failed), clip, floor(found)],
        parameters={
            "C1": "a = ±(1, −1) + ¼(1, 1), one of the two samples at a time, η = 0.02, x0 = (1, 1), 3000 steps, 20 runs",
            "C2": "N = d = 3, a = (−3, 2, 2) and its permutations, ¼‖x‖² more, η = 0.05, x0 = (1, 1, 1)",
            "clipping": "x²/2, noise 4 with probability 1/5 and −1 otherwise, or Gaussian with σ = 2, until t = 20",
            "Top-1": "d = 2, noise √0.3 · one of (2, 0), (0, 1), (−2, −1), or Gaussian of total variance 1, until t = 10",
        },
    )


def _figure(failed: Failures, points: dict, found: Rests) -> Figure:
    figure, axes = plot.panels(1, 3, width=4.6)
    for (name, result), color in zip(failed.signs.items(), plot.CATEGORIES):
        axes[0].semilogy(result.iteration, np.maximum(result.loss_mean, 1e-30), color=color, lw=1.8, label=name)
    axes[0].set(xlabel="iteration", ylabel="mean of f", title="C1, two samples in the plane", ylim=(1e-29, 30))
    etas = sorted({eta for _, eta in points})
    for name, color in zip(("skewed", "symmetric"), plot.CATEGORIES[1::-1]):
        squares = [mean_square(points[name, eta])[0] for eta in etas]
        axes[1].loglog(etas, squares, "o-", color=color, label=f"{name} noise")
    axes[1].axhline(ROOTS[C] ** 2, color="0.4", lw=1, ls=":", label="root of the mean message")
    axes[1].set(xlabel="η", ylabel="E x² at rest", title="SGD clipped at c = 1")
    for method, color in zip(METHODS, plot.CATEGORIES):
        for name, style in (("skewed", "o-"), ("symmetric", "x--")):
            known = sorted(eta for one, noise, eta in found if (one, noise) == (method, name))
            squares = [mean_square(found[method, name, eta])[0] for eta in known]
            axes[2].loglog(
                known, squares, style, color=color, ms=5, label=method if name == "skewed" and known else None
            )
    axes[2].set(xlabel="η", ylabel="E‖x‖² at rest", title="Top-1, d = 2 (dashed: symmetric noise)")
    for ax in axes:
        plot.dress(ax)
    caption = (
        "Left: signs without memory never fall below f(x0) = ½. Middle and right: levels at rest against the step; a "
        "line that turns flat towards small η is a floor that no step removes. Only skewed noise makes one, and error feedback has none."
    )
    return Figure("biased_floors", figure, caption)
