"""The panels of Figure 1 once more, with the SDE models drawn over the optimizers."""

from typing import Any

import numpy as np

from stablestep import compressor, noise, plot, problem, schedule, sde
from stablestep.report import Figure, Section
from stablestep.reproduce.context import Context
from stablestep.reproduce.sections import fig1_dcsgd
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate

KINDS = ("new", "first")
WORDS = [
    "The same setups as in Figure 1, integrated with dt = η/16. P offers the figure in support of its new SDEs; the panels "
    "support the step limits, but every model follows the optimizer about as well: A/N is so large that the term (η/2)Hg "
    "hardly matters.",
]


def run(context: Context) -> Section:
    few, many = 20, 500 if context.quick else 2000
    cases = {"DSGD, constant step": _dsgd(many, context)}
    if not context.quick:
        cases["DCSGD, step limit of P Eq. 16"] = _dcsgd(few, context)
        cases["DSignSGD, constant step"] = _signs(many, context)
    figure, axes = plot.panels(1, len(cases))
    for ax, (title, curves) in zip(np.atleast_1d(axes), cases.items()):
        _draw(ax, title, curves)
    caption = (
        "Medians of the optimizers (dots), of their new SDE (solid) and, in the full run, of their first-order SDE (dashed). On these "
        "panels the models are hard to tell apart: the multiplicative noise dominates, and the correction of order η is small."
    )
    return Section(
        id="overlay",
        title="Figure 1 with the SDE models",
        paragraphs=WORDS,
        figures=[Figure("overlay", figure, caption)],
        parameters={
            "dt": "η/16",
            "runs": f"{many} in one dimension" + ("" if context.quick else f", {few} in 1000 dimensions"),
            "DSGD": "σ = 3, 5 from x0 = 1, η = 0.01",
        },
    )


def _pair(setup: Setup, step, x0: float, steps: int, runs: int, context: Context):
    marks = np.linspace(0, steps, 26).astype(int)
    common: dict[str, Any] = dict(x0=x0, runs=runs, seed=context.seed)
    curves = {"optimizer": simulate(setup, schedule=step, steps=steps, record=marks, **common)}
    for kind in KINDS[: 1 if context.quick else None]:
        start = float(curves["optimizer"].gradient_norm_mean[0])
        built = sde.model(setup, kind, step, gradient_norm=start)
        curves[kind] = sde.integrate(built, time=steps * step.eta, record=marks * 16, error=False, **common)
    return curves


def _dsgd(runs: int, context: Context):
    setup = {s: Setup(problem.Quartic(1), Agents(1, noise.Gaussian(sigma1=s))) for s in (3.0, 5.0)}
    return {f"σ = {s:g}": _pair(one, schedule.Constant(0.01), 1.0, 500, runs, context) for s, one in setup.items()}


def _dcsgd(runs: int, context: Context):
    limit = schedule.StepLimit("4.2", eta=fig1_dcsgd.ETA, epsilon=fig1_dcsgd.EPSILON, L1=fig1_dcsgd.L1)
    return {
        f"ω = {w:g}": _pair(fig1_dcsgd.setup_of(w), limit, fig1_dcsgd.X0, 250, runs, context) for w in fig1_dcsgd.OMEGAS
    }


def _signs(runs: int, context: Context):
    agents = {s: Agents(1, noise.StudentT(1.0, s), compressor.Sign()) for s in (0.25, 2.0, 16.0)}
    return {
        f"σ = {s:g}": _pair(Setup(problem.Quartic(1), a), schedule.Constant(0.1), 2.0, 500, runs, context)
        for s, a in agents.items()
    }


def _draw(ax, title: str, curves) -> None:
    styles = {"optimizer": "o", "first": "--", "new": "-"}
    for (label, pair), color in zip(curves.items(), plot.CATEGORIES):
        for name, result in pair.items():
            style, median = styles[name], result.loss_quantile.sel(quantile=0.5)
            ax.plot(median.time, median, style, ms=4, lw=1.6, color=color, label=label if name == "optimizer" else None)
    ax.set(xlabel="t = kη", ylabel="median of f(x)", yscale="log", title=title)
    plot.dress(ax)
