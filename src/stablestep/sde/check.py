"""What has a continuous model and what has none; where a model starts, and in how many steps it is integrated."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from stablestep.errors import InvalidInput, first_line, is_number, positive, require, shown
from stablestep.message.group import GroupLaw
from stablestep.record import cast
from stablestep.schedule import Schedule, StepLimit
from stablestep.sde.continuous import Continuous, Vector
from stablestep.sde.memory import Memory
from stablestep.sde.normalized import DirectionLaw
from stablestep.setup import Setup

_DENSE = 512


def bound(schedule: Schedule, setup: Setup, gradient_norm: float | None) -> Schedule:
    """The schedule, bound to the setup.

    Raises:
        InvalidInput: if it has no continuous model.
    """
    require(
        not schedule.sees_messages,
        f"{type(schedule).__name__} depends on the messages themselves, so it has no continuous model; "
        "use Constant, Polynomial, Custom or StepLimit (or Normalized around one of them: NSGD).",
    )
    require(
        not schedule.needs_ensemble,
        "a step that follows E‖∇f‖ is a law of all runs together, which has no model of a single path; "
        "leave out expectation=True.",
    )
    if not isinstance(schedule, StepLimit):
        return schedule
    needed = schedule.L1 is None and schedule.constants is None
    require(
        gradient_norm is not None or not needed,
        "StepLimit without L1 needs gradient_norm, the gradient's norm at x0; give one.",
    )
    return schedule.bind(setup, gradient_norm if gradient_norm is not None else math.nan)


def memory_kind(setup: Setup, kind: str, memory: Memory) -> None:
    """Raise `InvalidInput` for a model that is not known of this memory."""
    require(
        kind in ("first", "classic", "new"),
        f'there is no model "{kind}" of {setup.memory}; its models are "first", "classic" and, for one memory alone, "new".',
    )
    require(
        kind != "new" or math.isfinite(memory.theta),
        f'the model "new" of {setup.memory} here has no θ̂ that gives both the critical step and the stationary loss (HeavyBall without '
        'nesterov, ErrorFeedback and EF21 have one, each alone); use "classic".',
    )


def no_memory_printed(setup: Setup) -> None:
    """The papers have no memory."""
    require(
        setup.memory is None, f"form='printed' is for methods of the papers, not for {setup.memory}; leave form out."
    )


def noiseless(groups: tuple[GroupLaw, ...]) -> bool:
    """Whether a model of these messages is an ODE."""
    return all(group.silent and group.compressor.deterministic for group in groups)


def moments(built: Continuous) -> None:
    """Raise `InvalidInput` where a moment of the messages does not exist or has no closed form."""
    for group in built.law.groups:
        require(
            group.noise.has_variance or group.compressor.bounded,
            f"{type(group.noise).__name__} noise has no variance here, so {group.compressor.name} messages have no SDE; "
            "signs do: use compressor=Sign(), or a noise with a variance (StudentT: df > 2).",
        )
    point = jnp.zeros(built.problem.dim)
    if not built.noiseless and not isinstance(built.law, DirectionLaw):
        _check_covariance(built, point)
    jax.eval_shape(lambda x: built.drift(0.0, built.begin(x)), point)


def _check_covariance(built: Continuous, point: Vector) -> None:
    diagonal = []

    def probe(x):
        covariance = built.law.covariance(x)
        diagonal.append(lx.is_diagonal(covariance))
        return built.law.mean(x), covariance.mv(x)

    jax.eval_shape(probe, point)
    require(
        diagonal[0] or built.problem.dim <= _DENSE,
        f"the messages' covariance is not diagonal, and its root needs d ≤ {_DENSE}, but d is {built.problem.dim}; "
        "use RandomSparsification instead of RandK, or a smaller problem.",
    )
    require(
        diagonal[0] or built.memory.crossed is not False,
        "EF21 around RandK has no known covariance under noise whose coordinates are correlated; use RandomSparsification.",
    )


def require_start(built: Continuous, points: Float[Array, "runs d"]) -> None:
    """Raise `InvalidInput` where the drift does not exist or is not finite at the runs' first points."""
    flow = built.kind == "principal"
    probe = np.asarray(points)[:16]
    try:
        found = _drifts(cast(built, points.dtype), probe.astype(np.result_type(probe, 1j)) if flow else probe)
    except (TypeError, NotImplementedError) as error:
        raise InvalidInput(
            f'the model "{built.kind}" needs a derivative of {type(built.problem).__name__} that JAX cannot take '
            f'({first_line(error)}); write f with jax.numpy, or use "first".'
        ) from error
    cause = "an eigenvalue of the Hessian is 1/η" if flow else "a second derivative of f does not exist"
    require(
        all(bool(np.all(np.isfinite(part))) for part in jax.tree.leaves(found)),
        f'the drift of the model "{built.kind}" is not finite at x0, because {cause} there; start elsewhere, or use another model or η.',
    )


@eqx.filter_jit
def _drifts(built: Continuous, points):
    return jax.vmap(lambda x: built.drift(0.0, built.begin(x)))(points)


def steps_of(time: float, dt: float | None, eta: float) -> tuple[int, float]:
    """How many steps of which length: dt by default η/16, adjusted so that whole steps reach `time`; η is the time of one iteration."""
    chosen = eta / 16 if dt is None else dt
    fits = is_number(chosen) and 0 < chosen <= eta * (1 + 1e-9)
    require(fits, f"dt is {shown(chosen)}, but must be in (0, η], η = {eta:g}; η/16 is the default.")
    time = positive("time", time)
    steps = max(1, round(time / chosen))
    return steps, time / steps
