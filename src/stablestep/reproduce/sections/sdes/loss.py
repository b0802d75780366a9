"""The drift and the volatility of the loss along the new SDE."""

import equinox as eqx
import jax
import numpy as np

from stablestep import compressor, noise, problem, schedule, sde
from stablestep.claim import Check, Claim
from stablestep.compare.scaling import order_table
from stablestep.record import cast
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import check, mean, order_check
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate

TIGHT = (0.04, 0.02, 0.01, 0.005)


def loss_drift() -> Claim:
    matrix = np.array([[2.0, 0.5], [0.5, 1.0]])
    setup = Setup(
        problem.Quadratic(matrix), Agents(2, noise.Gaussian(sigma0=0.7), compressor.RandomSparsification(omega=3.0))
    )
    x, eta = np.array([1.0, -2.0]), 0.3
    found = ito(setup, eta, x)
    gradient = matrix @ x
    second = np.outer(gradient, gradient) + np.diag(3.0 * (gradient**2 + 0.49) + 0.49) / 2
    exact = float(-gradient @ gradient + eta / 2 * np.sum(matrix * second))
    checks = [
        Check(found, 0.0, exact, "=", 1e-12, label="DCSGD on a quadratic: Itô drift against E[f(x₁) − f(x)]/η, exact")
    ]
    errors = np.array([_quartic_drift_error(step) for step in TIGHT])
    orders = order_table(TIGHT, errors, np.zeros(len(TIGHT)))
    checks.append(order_check(orders, 2, "SGD on x⁴/4: slope of the difference against η"))
    return Claim(
        "sde.loss-drift",
        "P 27, 50-51",
        "Itô on the new SDE gives the drift of the discrete loss up to O(η²).",
        tuple(checks),
    )


def ito(setup: Setup, eta: float, x: np.ndarray, form: str = "corrected") -> float:
    """The drift of the loss of the new SDE at x."""
    with jax.enable_x64(True):
        built = sde.model(setup, "new", schedule.Constant(eta), form=form)
        return float(_loss_drift_at(cast(built, np.dtype("float64")), x))


@eqx.filter_jit
def _loss_drift_at(built: sde.Model, x):
    return built.loss_drift(0.0, x)


def _quartic_drift_error(eta: float) -> float:
    setup = Setup(problem.Quartic(1), Agents(1, noise.Gaussian(sigma0=0.5)))
    drift = ito(setup, eta, np.ones(1))
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    after = np.sum(weights * (1 - eta * (1 + 0.5 * nodes)) ** 4 / 4) / np.sqrt(2 * np.pi)
    return float(drift - (after - 0.25) / eta)


def volatility(context: Context) -> Claim:
    eta, runs = 0.01, 50_000 if context.quick else 1_000_000
    setup = Setup(problem.Quadratic([1.0, 2.0]), Agents(1, noise.Gaussian(sigma0=1.0)))
    result = simulate(
        setup,
        schedule=schedule.Constant(eta),
        x0=1.0,
        steps=1,
        runs=runs,
        seed=context.seed,
        final=True,
    )
    change = 0.5 * result.final_state.values**2 @ np.array([1.0, 2.0]) - 1.5
    measured = mean((change - change.mean()) ** 2 / eta)
    small = 0.02  # the next order of ηgᵀ(I − ηH)Σ(I − ηH)g, relative
    built = sde.model(setup, "new", schedule.Constant(eta))
    predicted = {form: float(_loss_volatility_at(built, np.ones(2), form)) ** 2 for form in ("printed", "corrected")}
    label = "Var[f(x₁) − f(x)]/η of the optimizer"
    return Claim(
        "sde.loss-volatility",
        "P 52",
        "The volatility of the loss is G² = gᵀΣg.",
        (check(measured, "=", predicted["printed"], label),),
        (check(measured, "=", predicted["corrected"], label, model_error=2 * small * predicted["corrected"]),),
        error="misprint",
        detail="G² = η gᵀΣg: the η is missing in print.",
    )


@eqx.filter_jit
def _loss_volatility_at(built, x, form: str):
    return built.loss_volatility(0.0, x, form=form)
