"""Normalized steps: no critical step, a plateau in proportion to the step, and one condition, ηL1 < 1.2564."""

import math
from typing import NamedTuple

import numpy as np

from stablestep import noise, problem, schedule, theorem
from stablestep.claim import Check, Claim
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import Measured, check, mean
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from stablestep.theorem.discrete_normalized import slope

EIGENVALUES = (1.0, 0.3, 0.1)
ETAS = (0.01, 0.1, 1.0, 10.0)
NOISY_ETA, DIM = 0.02, 10
STARTS = (3.0, 10.0, 30.0)
COSH_ETA = 0.5


class Plateaus(NamedTuple):
    """The mean of ‖∇f‖ late on a quadratic, by η, without noise; and E f at rest with noise."""

    norms: dict[float, float]
    noisy: Measured


def plateaus(context: Context) -> Plateaus:
    etas = ETAS[1::2] if context.quick else ETAS
    return Plateaus({eta: _late_norm(eta, context) for eta in etas}, _noisy(context))


def _late_norm(eta: float, context: Context) -> float:
    setup = Setup(problem.Quadratic(EIGENVALUES), Agents(1))
    steps = 4000
    late = np.arange(steps - 200, steps)
    common = {"x0": 1.0, "steps": steps, "runs": 1, "seed": context.seed, "record": late, "dtype": "float64"}
    found = simulate(setup, schedule=schedule.Normalized(schedule.Constant(eta)), **common)
    return float(found.gradient_norm_mean[1:-1].mean())  # the start and the end are always recorded


def _noisy(context: Context) -> Measured:
    setup = Setup(problem.Quadratic(np.ones(DIM)), Agents(1, noise.Gaussian(sigma0=1.0)))
    runs = 2000 if context.quick else 20_000
    common = {"x0": 0.0, "steps": 1000, "runs": runs, "seed": context.seed, "record": 2, "final": True}
    found = simulate(setup, schedule=schedule.Normalized(schedule.Constant(NOISY_ETA)), **common)
    return mean(np.sum(found.final_state.values.astype(float) ** 2, axis=1) / 2)


def no_threshold(found: Plateaus, context: Context) -> Claim:
    checks = []
    for eta, norm in found.norms.items():
        label = f"mean ‖∇f‖ late, no noise, η = {eta:g}, over λη/2"
        checks.append(Check(norm / (max(EIGENVALUES) * eta / 2), 0.0, 1.0, "=", model_error=0.01, label=label))
    kappa = slope(DIM, 1.0)
    label = f"E f at rest over η/(4κ), Gaussian noise, d = {DIM}, η = {NOISY_ETA:g}"
    level, stderr = (each * 4 * kappa / NOISY_ETA for each in found.noisy)
    checks.append(check((level, stderr), "=", 1.0, label, model_error=0.01))
    unit = theorem.Constants(L0=1.0, L1=1.0, dim=DIM, normalized=True)
    limit = theorem.step_limit("discrete.normalized", unit)
    label = "limit of the theorem on normalized steps, L1 = 1, against the root of eᵘ − 1 − u = u"
    checks.append(Check(limit, 0.0, 1.2564312086, "=", model_error=1e-9, label=label))
    for start in STARTS[: 2 if context.quick else None]:
        checks += _from_afar(start, context)
    return Claim(
        "nsgd.no-threshold",
        "theory of bounded steps",
        "Normalized SGD needs no scaling with the inverse gradient, only ηL1 < 1.2564; its plateau is ‖∇f‖ = λη/2.",
        tuple(checks),
        detail="Quadratic with eigenvalues 1, 0.3, 0.1, and Gaussian noise on ‖x‖²/2; cosh x from ever further away with the same step.",
    )


def _from_afar(start: float, context: Context) -> list[Check]:
    """One constant step on cosh x, where the gradient at the start is e^x0/2."""
    setup = Setup(problem.Cosh(1, 1.0), Agents(1))
    steps = 1000
    rule = schedule.Normalized(schedule.Constant(COSH_ETA))
    common = {"x0": start, "steps": steps, "runs": 1, "seed": context.seed, "record": np.arange(steps)}
    found = simulate(setup, schedule=rule, dtype="float64", **common)
    norms = found.gradient_norm_mean.values
    gap = math.cosh(start) - 1
    c = theorem.Constants(L0=1.0, L1=1.0, dim=1, normalized=True, initial_gap=gap)
    bound = theorem.bound("discrete.normalized", c, eta=COSH_ETA, steps=steps)
    at = f"on cosh x from {start:g}, η = {COSH_ETA:g}"
    return [
        Check(float(np.mean(norms)), 0.0, bound, "<=", label=f"mean ‖∇f‖ {at}, against the bound"),
        Check(float(norms[-1]), 0.0, math.sinh(COSH_ETA), "<=", label=f"‖∇f‖ at the end {at}, against that at x = η"),
    ]
