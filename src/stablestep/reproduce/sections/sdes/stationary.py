"""Stationary losses and mean-square thresholds on quadratics."""

import numpy as np

from stablestep import compressor, noise, problem, schedule, sde
from stablestep.claim import Check, Claim
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import at_end, check
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate


def stationary(context: Context) -> Claim:
    runs, eta = 10_000 if context.quick else 100_000, 0.4
    checks = []
    matrix = np.array([[1.0, 0.4], [0.4, 2.0]])
    rough = noise.Gaussian(sigma0=[1.0, 0.3])
    setup = Setup(problem.Quadratic(matrix), Agents(2, rough))
    covariance = np.diag([1.0, 0.09]) / 2
    predicted = eta / 2 * float(np.trace(np.linalg.solve(2 * np.eye(2) - eta * matrix, covariance)))
    checks += _both(setup, eta, predicted, runs, context.seed, "SGD, H and Σ that do not commute", method="exact")
    omega, sigma0, sigma1, agents, dim = 4.0, 0.5, 0.2, 4, 3

    def compressed(sigma0: float) -> Setup:
        sparse = compressor.RandomSparsification(omega=omega)
        return Setup(problem.Quadratic(np.ones(dim)), Agents(agents, noise.Gaussian(sigma0, sigma1), sparse))

    growth = 1 + (omega + (1 + omega) * dim * sigma1**2) / agents
    predicted = 0.5 * eta / agents * (1 + omega) * dim * sigma0**2 / (2 - eta * growth)
    checks += _both(compressed(sigma0), eta, predicted, runs, context.seed, "DCSGD", method="euler")
    checks += _threshold(compressed(0.0), 2 / growth, runs, context.seed)
    return Claim(
        "sde.stationary-quadratic",
        "P 27, 106",
        "On quadratics the new SDE has the stationary loss and the mean-square threshold of the discrete method (SGD and DCSGD).",
        tuple(checks),
    )


def _both(setup, eta, predicted, runs, seed, name, method) -> list[Check]:
    step = schedule.Constant(eta)
    discrete = simulate(setup, schedule=step, x0=0.0, steps=100, runs=runs, record=2, seed=seed)
    path = sde.integrate(
        sde.model(setup, "new", step), x0=0.0, time=100 * eta, runs=runs, record=2, method=method, seed=seed + 1
    )
    error = float(path.integration_error[-1])
    stderr = float(np.hypot(path.loss_stderr[-1], path.integration_error_stderr[-1]))
    return [
        check(at_end(discrete), "=", predicted, f"stationary loss of the optimizer, {name}"),
        check((float(path.loss_mean[-1]) - error, stderr), "=", predicted, f"stationary loss of the new SDE, {name}"),
    ]


def _threshold(setup: Setup, eta: float, runs: int, seed: int) -> list[Check]:
    """At the threshold ηλ(1 + A/N) = 2 and without additive noise the mean square neither grows nor shrinks."""
    step = schedule.Constant(eta)
    discrete = simulate(setup, schedule=step, x0=1.0, steps=1, runs=runs, seed=seed)
    built = sde.model(setup, "new", step)
    path = sde.integrate(built, x0=1.0, time=eta / 4, dt=eta / 1024, runs=runs, record=2, seed=seed + 1, error=False)
    checks = []
    for name, result in (("optimizer", discrete), ("new SDE", path)):
        start = float(result.loss_mean[0])
        ratio = at_end(result)[0] / start, at_end(result)[1] / start
        checks.append(check(ratio, "=", 1.0, f"mean square over its start at ηλ(1+A/N) = 2, {name}", model_error=0.005))
    return checks
