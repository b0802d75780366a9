"""Schedules: the Robbins-Monro conditions of (1+t)^-a, and the normalization by the mean of local norms."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from stablestep import compressor, message, noise, plot, problem
from stablestep.claim import Check, Claim
from stablestep.record import cast
from stablestep.report import Figure, Section
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import check, fraction, gone, mean
from stablestep.reproduce.sections import fig1_dcsgd as figure_one
from stablestep.schedule import LocalNorms, Polynomial
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from stablestep.stream import Family, Stream

POWERS = (0.25, 0.4, 0.6, 0.75, 0.9)
LATE = (1e60, 1e62)  # late enough that the next term of the expansion is below 1e-3, for every power
COUNTS = (1, 16, 256)
WORDS = [
    "P Section 4 says of η_t = (1+t)^-a that φ²/φ¹ decays like t^-a. It decays like t^-min(a, 1−a): beyond a = ½, φ² converges "
    "while φ¹ still grows, and the bounds of the theorems shrink ever more slowly. The Robbins-Monro conditions hold for all a in "
    "(0, 1]; the fastest bound is at a = ½ (with a logarithm), the value that P leaves out in the text and uses in its figure.",
    "P C.3 divides the step by one plus the mean of the agents' own gradient norms. With many agents that mean tends to "
    "E‖∇f + noise‖, here √(1 + dσ1²) times ‖∇f‖, not to ‖∇f‖. It errs on the safe side: nothing diverges.",
]


def run(context: Context) -> Section:
    runs, steps = (20, 300) if context.quick else (100, 1000)
    grid = {"omega": figure_one.OMEGAS}
    start = figure_one.X0
    normed = simulate(
        figure_one.setup_of(4.0),
        schedule=LocalNorms(0.1),
        x0=start,
        steps=steps,
        runs=runs,
        seed=context.seed,
        grid=grid,
    )
    context.progress(0.5)
    samples, counts = (200, COUNTS[1:2]) if context.quick else (1000, COUNTS)
    ratios = {count: _norm_ratio(count, samples, context.seed) for count in counts}
    return Section(
        id="schedules",
        title="Schedules",
        paragraphs=WORDS,
        figures=[_figure(normed)],
        claims=[_robbins_monro(), _local_norms(ratios, normed, steps)],
        parameters={
            "a": ", ".join(f"{power:g}" for power in POWERS),
            "t at which slopes are read": f"{LATE[0]:g} to {LATE[1]:g}",
            "local norms": f"as Fig. 1, DCSGD: d = {figure_one.DIM}, σ = {figure_one.SIGMA}, x0 = {start:g}, η0 = 0.1, {runs} runs",
            "N": ", ".join(str(count) for count in counts),
        },
        data={"schedules_local_norms": normed},
    )


def _ratio(power: float, t: float) -> float:
    decay = Polynomial(1.0, power)
    return decay.phi(2, t) / decay.phi(1, t)


def _slope(power: float) -> float:
    first, last = LATE
    return float(np.log(_ratio(power, last) / _ratio(power, first)) / np.log(last / first))


def _robbins_monro() -> Claim:
    conditions = [
        Check(_ratio(a, 1e100), 0.0, 0.05, "<=", label=f"φ²/φ¹ at t = 1e100 (→ 0), a = {a:g}")
        for a in (*POWERS, 0.5, 1.0)
    ]
    conditions += [
        Check(Polynomial(1.0, a).phi(1, 1e100), 0.0, 100.0, ">=", label=f"φ¹ at t = 1e100 (→ ∞), a = {a:g}")
        for a in (0.5, 1.0)
    ]
    rates = {
        form: tuple(
            Check(_slope(a), 0.0, -rate(a), "=", model_error=5e-3, label=f"slope of log φ²/φ¹, a = {a:g}")
            for a in POWERS
        )
        for form, rate in (("printed", lambda a: a), ("corrected", lambda a: min(a, 1 - a)))
    }
    return Claim(
        "schedule.robbins-monro",
        "P 4",
        "(1+t)^-a satisfies φ¹ → ∞ and φ²/φ¹ → 0, and φ²/φ¹ ~ t^-a.",
        rates["printed"],
        (*conditions, *rates["corrected"]),
        detail="The conditions hold for every a in (0, 1]; the rate is t^-min(a, 1−a), so the printed one is wrong for a > ½.",
    )


def _norm_ratio(count: int, samples: int, seed: int) -> tuple[float, float]:
    """Ĝ/‖∇f‖ at the start of Fig. 1: its mean over draws, and the standard error."""

    agents = Agents(count, noise.Gaussian(sigma1=figure_one.SIGMA), compressor.RandomSparsification(omega=8.0))
    law = cast(message.law(Setup(problem.Quartic(dim=figure_one.DIM), agents), sampling="agents"), jnp.float32)
    x = jnp.full(figure_one.DIM, figure_one.X0, jnp.float32)
    root = Stream.seed(seed)

    def draw(index):
        gradient, _, local = law.draw(root.child(index, Family.RUN), x)
        return local / jnp.linalg.norm(gradient)

    return mean(np.asarray(jax.jit(lambda: jax.lax.map(draw, jnp.arange(samples, dtype=jnp.uint32)))()))


def _local_norms(ratios, normed: xr.Dataset, steps: int) -> Claim:
    expected = float(np.sqrt(1 + figure_one.DIM * figure_one.SIGMA**2))
    printed = tuple(check(ratios[n], "=", 1.0, f"Ĝ/‖∇f‖ with {n} agents, if consistent") for n in ratios)
    # E‖∇f + noise‖ is below √(1 + dσ1²)‖∇f‖ by at most a relative 1/(2d), by Jensen and the variance of a χ.
    biased = tuple(
        check(
            ratios[n],
            "=",
            expected,
            f"Ĝ/‖∇f‖ with {n} agents, √(1 + dσ1²)",
            model_error=expected / (2 * figure_one.DIM),
        )
        for n in ratios
    )
    safe = []
    for omega in figure_one.OMEGAS:
        result = normed.sel(omega=omega)
        safe.append(check(fraction(gone(result)), "=", 0.0, f"fraction diverged, ω = {omega:g}", margin=0.2))
        end = float(result.loss_mean[-1] / result.loss_mean[0]), float(result.loss_stderr[-1] / result.loss_mean[0])
        safe.append(check(end, "<=", 0.5, f"mean loss after {steps} steps over its start, ω = {omega:g}"))
    ends = ", ".join(f"{float(normed.sel(omega=omega).loss_mean[-1]):.3g}" for omega in figure_one.OMEGAS)
    return Claim(
        "schedule.local-norms",
        "P C.3, 145-147",
        "The mean of the agents' noisy norms consistently estimates E‖∇f‖, and η0/(1 + Ĝ) is stable.",
        printed,
        (*biased, *safe),
        detail=f"Consistent: no, biased up {ratios[max(ratios)][0]:.3g} times with N = {max(ratios)}. "
        f"Stable: yes; mean loss at the end for ω = 4, 8, 16: {ends}.",
    )


def _figure(normed: xr.Dataset) -> Figure:
    figure, axes = plot.panels(1, 2)
    times = np.logspace(0, 8, 33)
    curves = {f"a = {power:g}": [_ratio(power, t) for t in times] for power in (0.25, 0.5, 0.75, 0.9)}
    plot.lines(times, curves, axes[0], "t", "φ²/φ¹").set(xscale="log", yscale="log", title="η_t = (1+t)^-a")
    plot.loss(normed, axes[1]).set_title("η0/(1 + mean of local norms), P Eq. 147")
    caption = (
        "Left: φ²/φ¹ falls fastest near a = ½ and ever more slowly beyond. "
        "Right: Fig. 1's DCSGD with the step of P Eq. 147, x0 = 0.5."
    )
    return Figure("schedules", figure, caption)
