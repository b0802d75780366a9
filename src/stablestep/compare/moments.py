"""Closed moments on quadratics with additive noise: the optimizer's recursion against the models' exact solution."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from stablestep.compare.recursion import second_moments
from stablestep.compare.scaling import largest, order_table, require_etas
from stablestep.errors import instance, positive, require, shown
from stablestep.progress import watched
from stablestep.record import cast, working_dtype
from stablestep.record import start as start_points
from stablestep.schedule import Constant
from stablestep.sde import Continuous, Underdamped, model
from stablestep.sde.exact import linear_parts, pair_transition, transition
from stablestep.sde.solve import start_of
from stablestep.setup import Setup

if TYPE_CHECKING:
    import xarray as xr

_LAYER = 0.25  # of the time, before which a memory that starts at 0 is not yet at rest


def quadratic_order(
    setup: Setup | Callable[[float], Setup],
    kind: str,
    etas: Sequence[float],
    x0,
    time: float,
    start: str | None = None,
) -> "xr.Dataset":
    """The weak error of a model against η, exactly, and the order that it supports: no sampling, no integrator (P Def. 3.4).

    The error is that E f(X_t) − E f(x_k) which is largest in size over all k with t ≤ time, with its sign; with an effective-step model
    of a memory over time/4 ≤ t ≤ time, as the memory has to come to rest first.

    Args:
        setup: a Quadratic problem, Identity messages, Gaussian noise with sigma1 = 0; a linear memory is HeavyBall, or Momentum,
            ErrorFeedback and EF21 around RandomSparsification(…, scaled=False). Or a function that gives the setup of an η, for
            the underdamped models, where β → 1 as η → 0.
        kind: as in `sde.model`, "principal" excepted.
        x0: a number, or a vector [d].
        etas: at least four step sizes η of the schedule; the order in η_e is the same, as η_e/η is fixed.
        start: as in `integrate`: a classic model from the "given" start is of first order where the memory starts at 0.

    Returns:
        As `weak_order`, with stderr 0.

    Raises:
        InvalidInput: if the setup has no closed moments, or fewer than four etas are given.

    >>> from stablestep import noise, problem
    >>> from stablestep.server import HeavyBall
    >>> from stablestep.setup import Agents
    >>> setup = Setup(problem.Quadratic([1.0, 3.0]), Agents(1, noise.Gaussian(sigma0=1.0)), server=HeavyBall(0.5))
    >>> etas = [0.005, 0.0025, 0.00125, 0.000625]
    >>> quadratic_order(setup, "classic", etas, np.ones(2), 1.0).order
    2
    >>> quadratic_order(setup, "classic", etas, np.ones(2), 1.0, start="given").order
    1
    """
    steps, time = require_etas(etas), positive("time", time)

    def made(eta: float) -> Setup:
        given = setup(eta) if callable(setup) and not isinstance(setup, Setup) else setup
        return instance("setup", given, Setup, "Setup(problem, Agents(4)), or a function that gives one for an eta")

    error = np.zeros(len(steps))
    with watched("order on a quadratic") as told:
        for number, eta in enumerate(steps):
            error[number] = _sup_error(made(eta), kind, eta, x0, time, start)
            told((number + 1) / len(steps))
    return order_table(etas, error, np.zeros_like(error), model=kind, time=time)


def _sup_error(setup: Setup, kind: str, eta: float, x0, time: float, start: str | None) -> float:
    require(not callable(x0), f"x0 is {shown(x0)}, but exact moments start at one point; give a number or a vector.")
    with working_dtype("float64") as dtype:
        x0 = np.asarray(start_points(x0, setup.problem, 1, 0, dtype)[0])
        built = model(setup, kind, Constant(eta))
        decay, spread = _transition(built)
        state = _first_state(cast(built, float), jnp.asarray(x0), start_of(built, start) == "shifted")
    matrix = np.asarray(setup.problem.matrix, float)  # pyright: ignore[reportAttributeAccessIssue]
    hessian = np.diag(matrix) if matrix.ndim == 1 else matrix
    tick, dim = float(built.tick), len(x0)
    second = np.outer(state, state)
    settled = _LAYER * time if setup.memory and not isinstance(built, Underdamped) else 0
    errors = []
    steps = max(1, round(time / tick))
    for k, discrete in zip(range(1, steps + 1), second_moments(setup, eta, x0)):
        second = decay @ second @ decay.T + spread
        if k * tick >= settled:
            errors.append(float(np.trace(hessian @ (second[:dim, :dim] - discrete))) / 2)
    return largest(np.array(errors))


@eqx.filter_jit
def _first_state(built: Continuous, x0, shifted: bool):
    state = built.begin(built.start(x0) if shifted else x0)
    return jnp.concatenate(state) if isinstance(state, tuple) else state


def _transition(built: Continuous) -> tuple[np.ndarray, np.ndarray]:
    """The mean map and the covariance over one iteration."""
    if not isinstance(built, Underdamped):
        return transition(*linear_parts(built), float(built.tick))
    return pair_transition(built)
