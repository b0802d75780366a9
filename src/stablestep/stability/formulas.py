"""Critical steps by formula: the theorem's limit, its coordinate-wise form, and the local model of the loss."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

from stablestep.compressor import Sign
from stablestep.errors import InvalidInput
from stablestep.message import Law
from stablestep.record import cast, working_dtype
from stablestep.stability.start_point import CriticalStep, StartPoint, formula
from stablestep.theorem import constants, result

SAMPLES = 512
DENSE = 2048  # largest dimension whose Hessian's rows are all computed


def theorem_of(case: StartPoint) -> str:
    """The result on the new SDE that covers the setup's messages."""
    compressors = [group.compressor for group in case.setup.groups]
    if any(isinstance(compressor, Sign) for compressor in compressors):
        return "4.3"
    return "B.2" if all(compressor.deterministic for compressor in compressors) else "4.2"


def theorem(case: StartPoint, L1: float | None = None) -> CriticalStep:
    """The limit of the theorem on the new SDE as ε → 1, with the pair (L0, L1) that is best at this gradient norm."""
    case.require_slope()
    name = theorem_of(case)
    norm = case.gradient_norm
    c = constants(case.setup, L1=L1) if L1 is not None else constants(case.setup, gradient_norm=norm)
    step = 2 * result(name).step_limit(c, norm, 0.5) if name != "4.3" else result(name).step_limit(c, norm, None)
    definition = f"the largest step that {result(name).reference} allows at x0 (ε → 1)"
    return formula(step, "theorem", definition, 1, result=name, L0=c.L0, L1=c.L1)


def coordinate_wise(case: StartPoint) -> CriticalStep:
    """2 g·m / Σ_j D_j (m_j² + C_jj) with a bound D_j on the curvature of coordinate j: for separable f."""
    case.require_memoryless("coordinate-wise")
    case.require_slope()
    curvature = case.setup.problem.coordinate_curvature(case.gradient)
    mean, second, cost = _moments(case)
    step = 2 * float(case.gradient @ mean) / float(curvature @ second)
    definition = (
        "the coordinate-wise limit 2 g·m/Σ D_j(m_j² + C_jj): holds for the SDE, to leading order for the method"
    )
    return formula(step, "coordinate-wise", definition, cost)


def loss_model(case: StartPoint) -> CriticalStep:
    """2 g·m / (mᵀHm + tr(HC)): where the second-order model of one step's loss is 0. A model, never a guarantee."""
    case.require_memoryless("loss-model")
    case.require_slope()
    descent, curved, cost = _quadratic_form(case)
    step = 2 * descent / curved if curved > 0 else np.inf
    definition = "where the second-order model of one step's loss is 0: exact for the SDE, no bound for the method"
    return formula(step, "loss-model", definition, cost)


def _moments(case: StartPoint) -> tuple[np.ndarray, np.ndarray, int]:
    """E M and E M_j² of the mean message, in closed form or from samples, and the cost."""
    with working_dtype("float64") as kind:
        law, x = cast(case.law, kind), case.point
        try:
            mean, second = _closed(law, x)
            return np.asarray(mean), np.asarray(second), 1
        except InvalidInput:
            messages = np.asarray(case.messages(law, SAMPLES))
            return np.mean(messages, axis=0), np.mean(np.square(messages), axis=0), SAMPLES


@eqx.filter_jit
def _closed(law: Law, x):
    mean, operator = law.mean(x), law.covariance(x)
    dense = not lx.is_diagonal(operator)
    spread = jnp.diagonal(jax.vmap(operator.mv)(jnp.eye(x.size))) if dense else lx.diagonal(operator)
    return mean, mean**2 + spread


def _quadratic_form(case: StartPoint) -> tuple[float, float, int]:
    """g·E M and E MᵀHM, the latter as mᵀHm + tr(HC) where C is known, and the cost."""
    with working_dtype("float64") as kind:
        law, problem, x = cast(case.law, kind), cast(case.setup.problem, kind), case.point
        try:
            if x.size > DENSE:
                raise InvalidInput("too many Hessian products")
            mean, curved = _curved(law, problem, x)
            return float(case.gradient @ mean), float(curved), x.size + 2
        except InvalidInput:
            messages = np.asarray(case.messages(law, SAMPLES))
            curved = np.asarray(_forms(problem, x, messages))
            return float(case.gradient @ np.mean(messages, axis=0)), float(np.mean(curved)), 2 * SAMPLES


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
