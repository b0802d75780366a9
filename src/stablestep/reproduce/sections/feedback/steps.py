"""What error feedback does to the mean and to the largest step."""

import numpy as np

from stablestep import message, problem, schedule, server
from stablestep.claim import Check, Claim
from stablestep.reproduce.context import Context
from stablestep.reproduce.edges import mean_square_edge
from stablestep.reproduce.measure import check, mean
from stablestep.reproduce.sections.feedback.setups import dcsgd_edge, edge, ef, ef21, ef_edge, mask, setup
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate

STEPS = 30
CASES = ((0.1, 1), (0.1, 10), (0.1, 11), (0.25, 4), (0.25, 5))  # p, N
SIMULATED = ((0.25, 2), (0.25, 8), (0.1, 30), (0.1, 60), (0.5, 4), (0.8, 4), (0.25, 4))


def is_momentum(context: Context) -> Claim:
    checks = []
    bowl = problem.Quadratic([[1.0, 0.6], [0.6, 0.8]])
    for p in (0.1, 0.3):
        averaged = Setup(bowl, Agents(1), server=server.HeavyBall(beta=1 - p, average=True))
        wanted = message.moments(averaged, 0.3, [1.0, -0.5], STEPS)["x_mean"].values
        for name, chosen in (("EF", ef(p)), ("EF21", ef21(p))):
            found = message.moments(Setup(bowl, Agents(3, compressor=chosen)), 0.3, [1.0, -0.5], STEPS)["x_mean"].values
            off = float(np.abs(found - wanted).max())
            label = f"largest |E x − x of averaged heavy ball| in {STEPS} steps, {name}, p = {p:g}, N = 3, exact"
            checks.append(Check(off, 0.0, 0.0, "=", model_error=1e-12, label=label))
    checks += _simulated_mean(context)
    return Claim(
        "ef.is-momentum",
        "theory of linear memories",
        "The mean of EF and of EF21 with unscaled Bernoulli(p) masks is averaged heavy ball with β = 1−p.",
        tuple(checks),
    )


def _simulated_mean(context: Context) -> list[Check]:
    p, eta, dim = 0.25, 0.3, 64
    step = schedule.Constant(eta)
    common = {"x0": 1.0, "steps": STEPS, "seed": context.seed, "record": [5, 10], "observe": {"x": np.mean}}
    heavy = Setup(problem.Quadratic(np.ones(1)), Agents(1), server=server.HeavyBall(beta=1 - p, average=True))
    wanted = simulate(heavy, schedule=step, runs=1, dtype="float64", **common).x
    runs, checks = 400 if context.quick else 2000, []
    for name, chosen in (("EF", ef(p)),) if context.quick else (("EF", ef(p)), ("EF21", ef21(p))):
        found = simulate(setup(chosen, dim=dim), schedule=step, runs=runs, **common).x
        for k in (1, 2):
            label = f"mean x of {name} by simulation at k = {int(found.iteration[k])}, p = {p:g}, against averaged heavy ball"
            measured = mean(found.isel(time=k).values.astype(float))
            checks.append(check(measured, "=", float(wanted.isel(time=k)[0]), label, margin=0.25))
    return checks


def simulated_edges(context: Context) -> dict[tuple[float, int], float]:
    """Mean-square edges of EF by simulation, by p and N."""
    cases = SIMULATED[-1:] if context.quick else SIMULATED
    return {(p, count): _simulated(p, count, context) for p, count in cases}


def _simulated(p: float, count: int, context: Context) -> float:
    first = round(2 / p)
    dim = max(256, 4096 // count)
    runs = 8 if context.quick else 16
    return mean_square_edge(setup(ef(p), count, dim=dim), ef_edge(p, count), (first, 3 * first), runs, context.seed)


def larger_steps(found: dict[tuple[float, int], float]) -> Claim:
    printed, corrected = [], []
    for p, count in CASES:
        feeding, plain = edge(ef(p), count), edge(mask(p, scaled=True), count)
        at = f"p = {p:g}, N = {count}"
        label = f"edge of EF over that of DCSGD by exact moments, {at}"
        larger = count > 1 / p + 0.5
        if not larger:
            printed.append(Check(feeding / plain, 0.0, 1.0, ">=", label=label))
        corrected.append(Check(feeding / plain, 0.0, 1.0, ">=" if larger else "<=", label=label))
        for name, value, formula in (
            ("EF", feeding, ef_edge(p, count)),
            ("EF21", edge(ef21(p), count), ef_edge(p, count)),
            ("DCSGD", plain, dcsgd_edge(p, count)),
        ):
            label = f"edge of {name} by exact moments, {at}, against the formula"
            corrected.append(Check(value, 0.0, formula, "=", model_error=1e-9, label=label))
    for (p, count), value in found.items():
        label = f"edge of EF by simulation over the formula, p = {p:g}, N = {count}"
        corrected.append(Check(value / ef_edge(p, count), 0.0, 1.0, "=", model_error=0.12, label=label))
    return Claim(
        "ef.larger-steps",
        "folklore",
        "Error feedback allows larger steps than unbiased compression.",
        tuple(printed),
        tuple(corrected),
        detail="On quadratics, with random masks: iff N > 1/p + 1/2. A single agent may take smaller steps, by "
        "1/(2−p). With one mask for all N counts as 1.",
    )
