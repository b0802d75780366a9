"""Where the limit is exactly the edge."""

import numpy as np

from stablestep import compressor, noise, problem, stability, theorem
from stablestep.claim import Check, Claim
from stablestep.reproduce.context import Context
from stablestep.setup import Agents, Setup


def recovers(context: Context) -> Claim:
    checks, limits = [], []
    for lipschitz in (0.5, 4.0):
        c = theorem.Constants(L0=lipschitz, L1=0.0, dim=2)
        limit = theorem.step_limit("4.2", c, 1.0, 1 - 1e-12)
        label = f"limit of 4.2 without noise, L0 = {lipschitz:g}, ε → 1, against 2/L0"
        checks.append(Check(limit, 0.0, 2 / lipschitz, "=", model_error=1e-9, label=label))
        limits.append(theorem.step_limit("4.1", c, 1.0, 0.5))
        descent = Setup(problem.Quadratic([lipschitz / 4, lipschitz]), Agents(1))
        # By simulation, growth from just above the edge is not yet visible after 500 steps: an error below one in 500.
        methods = {"moments": 1e-9} if context.quick else {"moments": 1e-9, "simulation": 0.002}
        for method, error in methods.items():
            edge = stability.critical_step(descent, x0=1.0, method=method).step
            label = f"edge of gradient descent by {method}, L0 = {lipschitz:g}, against 2/L0"
            checks.append(Check(edge, 0.0, 2 / lipschitz, "=", model_error=error * 2 / lipschitz, label=label))
    checks.append(Check(min(limits), 0.0, np.inf, "=", label="limit of 4.1 without noise (first-order analysis)"))
    return Claim(
        "limit.recovers-2-over-L",
        "P after 17",
        "Without noise, compression and L1 the new limit is 2/L0, that of gradient descent; the first-order analysis has none.",
        tuple(checks),
    )


def sharp(context: Context) -> Claim:
    cases = ((4.0, 0.0, 1), (4.0, 1.0, 1), (8.0, 0.5, 4), (0.0, 0.0, 1), (1.0, 2.0, 16))
    checks = []
    for omega, sigma1, count in cases[: 2 if context.quick else None]:
        agents = Agents(count, noise.Gaussian(sigma1=sigma1), compressor.RandomSparsification(omega=omega))
        setup = Setup(problem.Quadratic([3.0]), agents)
        exact = stability.critical_step(setup, x0=1.0, method="moments").step
        limit = theorem.step_limit("4.2", theorem.constants(setup, L1=0.0), 1.0, 1 - 1e-12)
        label = f"limit of Eq. 16 as ε → 1, ω = {omega:g}, σ1 = {sigma1:g}, N = {count}, against the mean-square edge by moments"
        checks.append(Check(limit, 0.0, exact, "=", model_error=1e-9 * exact, label=label))
    return Claim(
        "limit.sharp-on-quadratic",
        "P 16",
        "On quadratics of one variable Eq. 16 with ε → 1 is exactly the mean-square stability threshold of the optimizer.",
        tuple(checks),
    )
