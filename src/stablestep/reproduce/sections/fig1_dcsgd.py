"""Figure 1 of both papers: DCSGD, randomly sparsified gradients on Σx⁴/4 in 1000 dimensions."""

import xarray as xr

from stablestep import compressor, noise, plot, problem, schedule
from stablestep.claim import Claim
from stablestep.record import recorded
from stablestep.report import Figure, Section
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import at_end, by_start, check, difference, diverged, fraction, gone, mean
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from stablestep.theorem import Constants

OMEGAS = (4.0, 8.0, 16.0)
STARTS = (0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
DIM, ETA, SIGMA, X0, L1, EPSILON = 1000, 0.1, 0.1, 0.5, 2.0, 0.9
SHORT = 60


def setup_of(omega: float) -> Setup:
    """The setup of the figure for one ω."""
    agents = Agents(1, noise.Gaussian(sigma1=SIGMA), compressor.RandomSparsification(omega=omega))
    return Setup(problem.Quartic(dim=DIM), agents)


WORDS = [
    "One agent minimizes Σx⁴/4 in 1000 dimensions with Gaussian noise of variance σ²‖∇f‖² in each coordinate and random "
    "sparsification (P and S2 Fig. 1). The sparsification must be the Bernoulli one: for ω = 8 and 16, keeping exactly k = d/(1+ω) "
    f"coordinates is no whole number. The start is open in the papers; the panels use x0 = {X0:g}·(1, …, 1), the fourth shows "
    "others: for c ≤ 0.2 nothing diverges, for c ≥ 0.4 every ω does.",
    "P schedules by Eq. 16, S2 by its Eq. 3, which assumes a variance that does not grow with the gradient although the noise of "
    "the figure does; both are drawn. A/N is 54, 98 and 186 here, so the multiplicative noise alone sets the limit and the panel "
    "does not tell the continuous models apart.",
]


def run(context: Context) -> Section:
    runs, steps, long_steps = (40, 300, 2000) if context.quick else (1000, 1000, 10000)
    few = 40
    # Equal numbers of times share a compiled kernel.
    short, marks = SHORT + 1, recorded(long_steps, "log")
    grid = {"omega": OMEGAS}
    setup, seed = setup_of(OMEGAS[0]), context.seed
    limit = schedule.StepLimit("4.2", eta=ETA, epsilon=EPSILON, L1=L1)
    step = schedule.Constant(ETA)
    constant = simulate(setup, schedule=step, x0=X0, steps=SHORT, runs=runs, seed=seed, grid=grid)
    context.progress(0.1)
    normalized = simulate(setup, schedule=limit, x0=X0, steps=steps, runs=runs, record=len(marks), seed=seed, grid=grid)
    context.progress(0.4)
    bounded = _bounded(steps, few, seed)
    context.progress(0.5)
    starts = [
        simulate(setup, schedule=step, x0=c, steps=500, runs=few, record=short, seed=seed, grid=grid) for c in STARTS
    ]
    context.progress(0.7)
    long = simulate(setup, schedule=limit, x0=X0, steps=long_steps, runs=few, record=marks, seed=seed, grid=grid)
    shares = diverged(starts, "omega", OMEGAS)
    return Section(
        id="fig1-dcsgd",
        title="Figure 1, DCSGD: compressed gradients",
        paragraphs=WORDS,
        figures=[_figure(constant, normalized, bounded, shares, long)],
        claims=[_constant(constant, shares, few), _normalized(normalized, long, steps, long_steps)],
        parameters={
            "f": f"Σx⁴/4, d = {DIM}, N = 1",
            "η": ETA,
            "σ (per coordinate, open in the paper)": SIGMA,
            "ω": ", ".join(f"{omega:g}" for omega in OMEGAS),
            "runs": runs,
            "steps": f"{SHORT} (constant), {steps} (scheduled), {long_steps} ({few} runs, long)",
            "x0 (open in the papers)": f"{X0:g} in every coordinate",
            "L0, L1, ε (open in the papers)": f"1, {L1:g}, {EPSILON:g}",
            "‖∇f‖ in the schedule (open in the papers)": "the path's own; the cap is η",
            "divergence": f"‖x‖ > {float(constant.attrs['radius']):g} or not finite",
        },
        data={"fig1_dcsgd_constant": constant, "fig1_dcsgd_normalized": normalized, "fig1_dcsgd_s2": bounded},
    )


def _bounded(steps: int, runs: int, seed: int) -> xr.Dataset:
    """The schedule of S2 Eq. 3, its σ² set to the figure's σ² as if the variance did not grow."""
    results: list[xr.Dataset] = []
    for omega in OMEGAS:
        c = Constants(L0=1.0, L1=L1, dim=DIM, omega=omega, sigma0_sq=SIGMA**2)
        limit = schedule.StepLimit("S2 4.2", eta=ETA, epsilon=EPSILON, constants=c)
        results.append(simulate(setup_of(omega), schedule=limit, x0=X0, steps=steps, runs=runs, seed=seed))
    return xr.concat(results, xr.DataArray(list(OMEGAS), dims="omega", name="omega"), combine_attrs="drop_conflicts")


def _figure(constant, normalized, bounded, shares, long) -> Figure:
    figure, axes = plot.panels(2, 3)
    plot.loss(constant, axes[0, 0]).set_title("constant step")
    plot.diverged(constant, axes[0, 1]).set_title("constant step")
    curves = {f"omega = {omega:g}": column for omega, column in zip(OMEGAS, shares.T, strict=True)}
    plot.lines(STARTS, curves, axes[0, 2], "c, for x0 = c·(1, …, 1)", "fraction of runs diverged").set_title(
        "constant step, by start"
    )
    plot.loss(normalized, axes[1, 0]).set_title("step limit of P Eq. 16, pathwise")
    plot.loss(bounded, axes[1, 1]).set_title("step limit of S2 Eq. 3")
    plot.loss(long, axes[1, 2], log_time=True).set_title("P Eq. 16, longer")
    caption = (
        "DCSGD on Σx⁴/4, d = 1000. Top: constant step; the loss, the diverged fraction, and which starts diverge. Bottom: the schedules "
        "of P (Eq. 16) and S2 (Eq. 3), and P's for longer: it converges for every ω, more slowly for larger ω."
    )
    return Figure("fig1_dcsgd", figure, caption)


def _constant(constant, shares, few) -> Claim:
    rows = [constant.sel(omega=omega) for omega in OMEGAS]
    checks = [
        check(fraction(gone(row)), ">=", 0.5, f"fraction diverged at ω = {omega:g}")
        for row, omega in zip(rows, OMEGAS, strict=True)
    ]
    when = [mean(row.divergence_iteration.values[gone(row)]) for row in rows]
    for low, high in ((0, 1), (1, 2)):
        label = f"mean iteration of divergence at ω = {OMEGAS[low]:g} minus that at ω = {OMEGAS[high]:g}"
        checks.append(check(difference(when[low], when[high]), ">=", 0.0, label))
    return Claim(
        "fig1.dcsgd.constant",
        "P, S2 Fig. 1",
        "Without normalization DCSGD diverges, faster for larger ω.",
        tuple(checks),
        detail=f"Diverged at ω = 4, 8, 16 in 500 steps of {few} runs, by start: "
        f"{by_start('c', STARTS, shares)}. It holds from c ≥ 0.4 and is false from c ≤ 0.2.",
    )


def _normalized(normalized, long, steps, long_steps) -> Claim:
    checks = []
    for omega in OMEGAS:
        result = normalized.sel(omega=omega)
        checks.append(check(fraction(gone(result)), "=", 0.0, f"fraction diverged at ω = {omega:g}", margin=0.1))
        first = float(result.loss_mean[0])
        far = long.sel(omega=omega)
        ratio = at_end(far)[0] / first, at_end(far)[1] / first
        checks.append(check(ratio, "<=", 0.25, f"mean loss after {long_steps} steps over its start, ω = {omega:g}"))
    ends = ", ".join(f"{at_end(normalized.sel(omega=omega))[0]:.3g}" for omega in OMEGAS)
    return Claim(
        "fig1.dcsgd.normalized",
        "P, S2 Fig. 1",
        "With the schedule of Eq. 16 it always converges.",
        tuple(checks),
        detail=f"Mean loss after {steps} steps at ω = 4, 8, 16, from {float(normalized.loss_mean[0, 0]):.4g}: {ends}.",
    )
