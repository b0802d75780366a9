"""Critical steps by formula: the theorem's limit, its coordinate-wise form, and the local model of the loss."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

from stablestep.errors import InvalidInput
from stablestep.message import Law
from stablestep.record import cast, working_dtype
from stablestep.server import HeavyBall
from stablestep.setup import Setup
from stablestep.stability.start_point import CriticalStep, StartPoint, formula, never, symmetric
from stablestep.theorem import Constants, covered

SAMPLES = 512
DENSE = 2048  # largest dimension whose Hessian's rows are all computed


def theorem(case: StartPoint, L1: float | None = None, constants: Constants | None = None) -> CriticalStep:
    """The limit as ε → 1 of the theorem that covers the setup, with the pair (L0, L1) that is best at this gradient norm.

    Args:
        L1: another pair.
        constants: instead of the setup's own, such as `theorem.constants_from` estimates; what the setup remembers is filled in.

    Raises:
        InvalidInput: where no result covers them, they are of another setup, or L1 and constants are both given.
    """
    case.require_slope()
    found = covered(case.setup, case.gradient_norm, L1, constants)
    definition = f"the largest step that {found.result.reference} allows at x0 (ε → 1)"
    c = found.constants
    return formula(found.step, "theorem", definition, 1, result=found.result.name, L0=c.L0, L1=c.L1)


def coordinate_wise(case: StartPoint) -> CriticalStep:
    """2 g·m / Σ_j D_j (θm_j² + C_jj) with a bound D_j on the curvature of coordinate j: for separable f.

    θ = 1; with a heavy ball θ = (1−β)/(1+β), which is what its memory leaves of m² in the long run, and the step is 1 − β times as large
    (with `average` as large). In closed form where the messages' moments have one, else estimated from 512 messages.

    Raises:
        InvalidInput: for another memory, or where f is not known to be separable.
    """
    ball = _ball(case.setup, "coordinate-wise")
    case.require_slope()
    curvature = case.setup.problem.coordinate_curvature(case.gradient)
    definition = (
        "the coordinate-wise limit 2 g·m/Σ D_j(m_j² + C_jj): holds for the SDE, to leading order for the method"
    )
    means, seconds, cost = _moments(case)
    seconds = seconds - (1 - ball.theta) * np.square(np.mean(means, axis=0))
    return _ratio("coordinate-wise", definition, ball.scale * means @ case.gradient, seconds @ curvature, cost)


def loss_model(case: StartPoint) -> CriticalStep:
    """2 g·m / (θmᵀHm + tr(HC)): where the second-order model of one step's loss is 0. A model, never a guarantee.

    θ and the heavy ball as in "coordinate-wise": with it the model has the exact mean-square edge of every quadratic λ‖x‖²/2. In closed
    form where the messages' moments have one, else estimated from 512 messages.

    Raises:
        InvalidInput: for another memory.
    """
    ball = _ball(case.setup, "loss-model")
    case.require_slope()
    definition = "where the second-order model of one step's loss is 0: exact for the SDE, no bound for the method"
    descents, curved, cost = _quadratic_form(case, ball.theta)
    return _ratio("loss-model", definition, ball.scale * descents, curved, cost)


class _Ball(NamedTuple):
    """θ, and by what an effective step is multiplied to give the step."""

    theta: float
    scale: float


def _ball(setup: Setup, method: str) -> _Ball:
    """The momentum whose long run the models of the loss know."""
    server = setup.server
    if setup.memory is None:
        return _Ball(1.0, 1.0)
    plain = all(not g.compressor.remembers and (g.compressor.unbiased or g.compressor.linear) for g in setup.groups)
    if not (isinstance(server, HeavyBall) and not server.nesterov and plain):
        raise InvalidInput(
            f'method="{method}" knows no memory but a heavy ball over messages whose mean is proportional to the gradient, and here is '
            f'{setup.memory}; use method="one-step" or "one-step-log", which average over the memory, or "rollouts".'
        )
    return _Ball((1 - server.beta) / (1 + server.beta), 1.0 if server.average else 1 - server.beta)


def _ratio(method: str, definition: str, descents: np.ndarray, curved: np.ndarray, cost: int) -> CriticalStep:
    """Twice the mean descent over the mean curvature of messages [k], or of their exact mean [1]."""
    descent, curvature = float(np.mean(descents)), float(np.mean(curved))
    if descent <= 0:
        return never(0.0, method, definition, cost)
    step = 2 * descent / curvature if curvature > 0 else math.inf
    if len(descents) == 1 or math.isinf(step):
        return formula(step, method, definition, cost)
    error = float(np.std(descents / descent - curved / curvature)) / math.sqrt(len(descents))
    interval = symmetric(step, error)
    return CriticalStep(step, *interval, "estimated", method, definition, cost, {"samples": len(descents)})


def _moments(case: StartPoint) -> tuple[np.ndarray, np.ndarray, int]:
    """E M and E M_j² of the mean message as one row, in closed form, or M and M_j² of samples; and the cost."""
    with working_dtype("float64") as kind:
        law, x = cast(case.law, kind), case.point
        try:
            mean, second = _closed(law, x)
            return np.asarray(mean)[None], np.asarray(second)[None], 1
        except InvalidInput:
            messages = np.asarray(case.messages(law, SAMPLES))
            return messages, np.square(messages), SAMPLES


@eqx.filter_jit
def _closed(law: Law, x):
    mean, operator = law.mean(x), law.covariance(x)
    dense = not lx.is_diagonal(operator)
    spread = jnp.diagonal(jax.vmap(operator.mv)(jnp.eye(x.size))) if dense else lx.diagonal(operator)
    return mean, mean**2 + spread


def _quadratic_form(case: StartPoint, theta: float) -> tuple[np.ndarray, np.ndarray, int]:
    """g·E M and θmᵀHm + tr(HC), m = E M, or of samples g·M and MᵀHM − (1−θ)mᵀHm; and the cost."""
    with working_dtype("float64") as kind:
        law, problem, x = cast(case.law, kind), cast(case.setup.problem, kind), case.point
        try:
            if x.size > DENSE:
                raise InvalidInput("too many Hessian products")
            mean, curved = _curved(law, problem, x, theta)
            return np.asarray(mean)[None] @ case.gradient, np.asarray(curved)[None], x.size + 2
        except InvalidInput:
            messages = np.asarray(case.messages(law, SAMPLES))
            forms = np.asarray(_forms(problem, x, np.vstack([messages, np.mean(messages, axis=0)])))
            return messages @ case.gradient, forms[:-1] - (1 - theta) * forms[-1], 2 * SAMPLES


@eqx.filter_jit
def _curved(law: Law, problem, x, theta):
    mean, covariance = law.mean(x), law.covariance(x)
    rows = jax.lax.map(lambda v: problem.hessian_product(x, v), jnp.eye(x.size), batch_size=64)
    if lx.is_diagonal(covariance):
        trace = jnp.sum(jnp.diagonal(rows) * lx.diagonal(covariance))
    else:
        trace = jnp.trace(jax.vmap(covariance.mv)(rows))
    return mean, theta * jnp.vdot(mean, rows @ mean) + trace


@eqx.filter_jit
def _forms(problem, x, messages):
    return jax.vmap(lambda message: jnp.vdot(message, problem.hessian_product(x, message)))(messages)
