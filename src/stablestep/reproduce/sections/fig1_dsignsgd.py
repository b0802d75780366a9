"""Figure 1 (right) of both papers: DSignSGD on x⁴/4 under Cauchy noise."""

from typing import Any

import numpy as np

from stablestep import compressor, noise, plot, problem, schedule
from stablestep.claim import Claim
from stablestep.report import Figure, Section
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import at_end, check, difference
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate

SCALES = (0.25, 0.5, 1.0, 2.0, 8.0, 16.0)
ETA, X0 = 0.1, 2.0
STATIONARY_ONE = 0.021563601  # E f of the stationary law at σ = 1, by exact recursion on the lattice of steps
WORDS = [
    "One agent minimizes x⁴/4 by the sign of gradients with Student-t noise of one degree of freedom: the noise has no mean, the "
    "signs have every moment (P and S2 Fig. 1, right). With a constant step the loss stalls at a level that does not depend on the "
    "start and grows with the scale σ, close to πση/16; with η_t = 1/√(1+t), t = kη, it follows that level down to 0.",
    "σ = 16 violates the hypothesis of P Thm 4.3 at t = 0 for every (L0, L1) (the largest allowed step is 0.0757 < η), and still "
    "converges. With fewer than a thousand steps the curves of σ = 8 and 16 look as if they did not.",
]


def run(context: Context) -> Section:
    runs, long_runs, steps, long_steps = (
        (10_000, 500, 500, 20_000) if context.quick else (10_000, 10_000, 1000, 100_000)
    )
    setup = Setup(problem.Quartic(dim=1), Agents(1, noise.StudentT(df=1.0, scale=1.0), compressor.Sign()))
    common: dict[str, Any] = dict(x0=X0, seed=context.seed, grid={"scale": SCALES})
    constant = simulate(setup, schedule=schedule.Constant(ETA), steps=steps, runs=runs, **common)
    context.progress(0.1)

    def report(done: float) -> None:
        context.progress(0.1 + 0.9 * done)

    decay = schedule.Polynomial(ETA, power=0.5)
    scheduled = simulate(
        setup, schedule=decay, steps=long_steps, runs=long_runs, record="log", progress=report, **common
    )
    return Section(
        id="fig1-dsignsgd",
        title="Figure 1, DSignSGD: signs under noise without a mean",
        paragraphs=WORDS,
        figures=[_figure(constant, scheduled)],
        claims=[_constant(constant), _scheduled(constant, scheduled)],
        parameters={
            "f": "x⁴/4, d = 1, N = 1",
            "η": ETA,
            "ν": 1,
            "σ": ", ".join(f"{scale:g}" for scale in SCALES),
            "runs": f"{runs} (constant), {long_runs} (scheduled)",
            "steps": f"{steps} (constant), {long_steps} (scheduled)",
            "x0 (open in the papers)": X0,
            "t (open in the papers)": "kη",
        },
        data={"fig1_dsignsgd_constant": constant, "fig1_dsignsgd_scheduled": scheduled},
    )


def _figure(constant, scheduled) -> Figure:
    figure, axes = plot.panels(1, 3)
    plot.mean_loss(constant, axes[0], log_time=True).set_title("constant step")
    plot.mean_loss(scheduled, axes[1], log_time=True).set_title("η_t = 1/√(1+t)")
    levels = np.array([at_end(constant.sel(scale=scale))[0] for scale in SCALES])
    curves = {"measured": levels, "πση/16": np.pi * np.array(SCALES) * ETA / 16}
    plot.lines(SCALES, curves, axes[2], "σ", "mean of f(x) at the end", ordered=False).set_title(
        "constant step: the level"
    )
    axes[2].set(xscale="log", yscale="log")
    caption = (
        "DSignSGD on x⁴/4 under Student-t noise with ν = 1 (means over runs; all moments of a sign exist). Left: a constant step stalls. "
        "Middle: η_t = 1/√(1+t) converges. Right: the level of the constant step against the scale of the noise."
    )
    return Figure("fig1_dsignsgd", figure, caption)


def _constant(constant) -> Claim:
    levels = [at_end(constant.sel(scale=scale)) for scale in SCALES]
    checks = [check(levels[0], ">=", 0.0, f"mean loss at the end, σ = {SCALES[0]:g}")]
    checks.append(
        check(levels[2], "=", STATIONARY_ONE, "mean loss at the end, σ = 1, against the exact stationary law")
    )
    for low in range(len(SCALES) - 1):
        label = f"mean loss at the end, σ = {SCALES[low + 1]:g} minus σ = {SCALES[low]:g}"
        checks.append(check(difference(levels[low + 1], levels[low]), ">=", 0.0, label))
    half = float(constant.sel(scale=SCALES[-1]).loss_mean[len(constant.time) // 2])
    table = ", ".join(f"{level:.3g} ± {error:.1g}" for level, error in levels)
    return Claim(
        "fig1.dsignsgd.constant",
        "P, S2 Fig. 1 right",
        "With a constant step DSignSGD stalls above 0, higher for larger σ.",
        tuple(checks),
        detail=f"Mean loss at the end, σ = 0.25 … 16: {table}. At half of the steps it was {half:.3g} for σ = 16.",
    )


def _scheduled(constant, scheduled) -> Claim:
    checks = []
    for scale in SCALES:
        level = at_end(constant.sel(scale=scale))[0]
        end = at_end(scheduled.sel(scale=scale))
        ratio = end[0] / level, end[1] / level
        checks.append(
            check(ratio, "<=", 0.1, f"mean loss at the end over the level of the constant step, σ = {scale:g}")
        )
    ends = ", ".join(f"{at_end(scheduled.sel(scale=scale))[0]:.2g}" for scale in SCALES)
    return Claim(
        "fig1.dsignsgd.scheduled",
        "P, S2 Fig. 1 right",
        "With η_t = 1/√(1+t) it converges to 0 under noise of unbounded mean.",
        tuple(checks),
        detail=f"Mean loss after {int(scheduled.iteration[-1])} steps, σ = 0.25 … 16: {ends}.",
    )
