"""Closed moments on quadratics with additive noise: the optimizer's recursion against the models' exact solution."""

from collections.abc import Sequence

import equinox as eqx
import numpy as np
import xarray as xr
from jaxtyping import Float

from stablestep.compare.scaling import largest, order_table, require_etas
from stablestep.record import cast, working_dtype
from stablestep.schedule import Constant
from stablestep.sde import model
from stablestep.sde.exact import linear_parts, transition
from stablestep.setup import Setup


def quadratic_order(
    setup: Setup, kind: str, etas: Sequence[float], x0: Float[np.ndarray, " d"], time: float
) -> xr.Dataset:
    """The weak error of a model against η, exactly, and the order that it supports: no sampling, no integrator (P Def. 3.4).

    The error is that E f(X_kη) − E f(x_k) which is largest in size over all k with kη ≤ time, with its sign.

    Args:
        setup: a Quadratic problem, Identity messages, Gaussian noise with sigma1 = 0.
        kind: "first", "classic", "new" or "flip".
        etas: at least four step sizes.

    Returns:
        As `weak_order`, with stderr 0.

    Raises:
        InvalidInput: if the setup has no closed moments, or fewer than four etas are given.

    >>> from stablestep import noise, problem
    >>> from stablestep.setup import Agents
    >>> setup = Setup(problem.Quadratic([1.0, 3.0]), Agents(1, noise.Gaussian(sigma0=1.0)))
    >>> quadratic_order(setup, "classic", [0.01, 0.005, 0.0025, 0.00125], np.ones(2), 1.0).order
    2
    """
    require_etas(etas)
    error = np.array([_sup_error(setup, kind, eta, np.asarray(x0, float), time) for eta in etas])
    return order_table(etas, error, np.zeros_like(error), model=kind, time=time)


@eqx.filter_jit
def _message_covariance(law, x):
    return law.covariance(x).as_matrix()


def _sup_error(setup: Setup, kind: str, eta: float, x0: np.ndarray, time: float) -> float:
    with working_dtype("float64"):
        built = model(setup, kind, Constant(eta))
        drift, covariance = linear_parts(built)
        message = np.asarray(_message_covariance(cast(built.law, float), np.asarray(x0, float)))
    matrix = np.asarray(setup.problem.matrix, float)  # pyright: ignore[reportAttributeAccessIssue]
    hessian = np.diag(matrix) if matrix.ndim == 1 else matrix
    decay, spread = transition(drift, covariance, eta)
    step, kick = np.eye(len(x0)) - eta * hessian, eta**2 * message
    second_model = second_discrete = np.outer(x0, x0)
    errors = []
    for _ in range(max(1, round(time / eta))):
        second_model = decay @ second_model @ decay.T + spread
        second_discrete = step @ second_discrete @ step.T + kick
        errors.append(float(np.trace(hessian @ (second_model - second_discrete))) / 2)
    return largest(np.array(errors))
