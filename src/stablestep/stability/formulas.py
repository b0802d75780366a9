"""Critical steps by formula: the theorem's limit, its coordinate-wise form, and the local model of the loss."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

from stablestep.errors import InvalidInput
from stablestep.message import Law
from stablestep.record import cast, working_dtype
from stablestep.stability.start_point import CriticalStep, StartPoint, formula, never, symmetric
from stablestep.theorem import covered

SAMPLES = 512
DENSE = 2048  # largest dimension whose Hessian's rows are all computed


def theorem(case: StartPoint, L1: float | None = None) -> CriticalStep:
    """The limit as ε → 1 of the theorem that covers the setup, with the pair (L0, L1) that is best at this gradient norm.

    Args:
        L1: another pair.
    """
    case.require_slope()
    found = covered(case.setup, case.gradient_norm, L1)
    definition = f"the largest step that {found.result.reference} allows at x0 (ε → 1)"
    c = found.constants
    return formula(found.step, "theorem", definition, 1, result=found.result.name, L0=c.L0, L1=c.L1)


def coordinate_wise(case: StartPoint) -> CriticalStep:
    """2 g·m / Σ_j D_j (m_j² + C_jj) with a bound D_j on the curvature of coordinate j: for separable f.

    In closed form where the messages' moments have one, else estimated from 512 messages.
    """
    case.require_memoryless("coordinate-wise")
    case.require_slope()
    curvature = case.setup.problem.coordinate_curvature(case.gradient)
    definition = (
        "the coordinate-wise limit 2 g·m/Σ D_j(m_j² + C_jj): holds for the SDE, to leading order for the method"
    )
    means, seconds, cost = _moments(case)
    return _ratio("coordinate-wise", definition, means @ case.gradient, seconds @ curvature, cost)


def loss_model(case: StartPoint) -> CriticalStep:
    """2 g·m / (mᵀHm + tr(HC)): where the second-order model of one step's loss is 0. A model, never a guarantee.

    In closed form where the messages' moments have one, else estimated from 512 messages.
    """
    case.require_memoryless("loss-model")
    case.require_slope()
    definition = "where the second-order model of one step's loss is 0: exact for the SDE, no bound for the method"
    return _ratio("loss-model", definition, *_quadratic_form(case))


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


def _quadratic_form(case: StartPoint) -> tuple[np.ndarray, np.ndarray, int]:
    """g·E M and E MᵀHM, the latter as mᵀHm + tr(HC) where C is known, else g·M and MᵀHM of samples; and the cost."""
    with working_dtype("float64") as kind:
        law, problem, x = cast(case.law, kind), cast(case.setup.problem, kind), case.point
        try:
            if x.size > DENSE:
                raise InvalidInput("too many Hessian products")
            mean, curved = _curved(law, problem, x)
            return np.asarray(mean)[None] @ case.gradient, np.asarray(curved)[None], x.size + 2
        except InvalidInput:
            messages = np.asarray(case.messages(law, SAMPLES))
            return messages @ case.gradient, np.asarray(_forms(problem, x, messages)), 2 * SAMPLES


@eqx.filter_jit
def _curved(law: Law, problem, x):
    mean, covariance = law.mean(x), law.covariance(x)
    rows = jax.lax.map(lambda v: problem.hessian_product(x, v), jnp.eye(x.size), batch_size=64)
    if lx.is_diagonal(covariance):
        trace = jnp.sum(jnp.diagonal(rows) * lx.diagonal(covariance))
    else:
        trace = jnp.trace(jax.vmap(covariance.mv)(rows))
    return mean, jnp.vdot(mean, rows @ mean) + trace


@eqx.filter_jit
def _forms(problem, x, messages):
    return jax.vmap(lambda message: jnp.vdot(message, problem.hessian_product(x, message)))(messages)
