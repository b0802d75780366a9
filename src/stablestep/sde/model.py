"""A continuous model of an optimizer, built from the law of its messages."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact

from stablestep.errors import FORMS, InvalidInput, instance, nearest, one_of, require
from stablestep.message import Law, law
from stablestep.problem import Problem
from stablestep.record import cast
from stablestep.schedule import Schedule, Seen, StepLimit
from stablestep.sde import drift as drifts
from stablestep.setup import Setup

Scalar = Float[Array, ""]
Vector = Inexact[Array, " d"]  # complex along the principal flow
_DENSE = 512


class Model(eqx.Module):
    """dX = drift(t, X) dt + diffusion(t, X) dW, with diffusion·diffusionᵀ = ηη_t² Cov(mean message); t = kη."""

    problem: Problem
    law: Law
    schedule: Schedule
    eta: float
    kind: str = eqx.field(static=True)
    form: str = eqx.field(static=True)
    noiseless: bool = eqx.field(static=True)

    def rate(self, t: Scalar | float, x: Vector) -> Scalar:
        """η_t at (t, x): the step of the schedule over η."""
        t, x = _arguments(t, x)
        gradient = self.problem.gradient(x)
        square = jnp.sum(gradient * gradient)
        # The double where keeps the derivative of the root finite at a stationary point.
        norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
        unseen = jnp.full_like(norm, jnp.nan)
        return self.schedule.step(t, Seen(norm, unseen, unseen, unseen)) / self.eta

    def field(self, t: Scalar, x: Vector) -> Vector:
        """s(t, x) = η_t m(x), the mean step over η."""
        return self.rate(t, x) * self.law.mean(x)

    def drift(self, t, x) -> Vector:
        """The drift at time t and point x (d,)."""
        t, x = _arguments(t, x)
        function = (
            drifts.DRIFTS[self.kind] if self.form == "corrected" else drifts.printed_form(self.kind, self.law.groups)
        )
        return function(self, t, x)

    def diffusion(self, t, x) -> lx.AbstractLinearOperator:
        """G with GGᵀ = ηη_t² Cov(mean message): diagonal where the covariance is, else a triangular root (d ≤ 512)."""
        t, x = _arguments(t, x)
        scale = self.rate(t, x) * jnp.sqrt(jnp.asarray(self.eta, x.dtype))
        covariance = self.law.covariance(x)
        if lx.is_diagonal(covariance):
            return lx.DiagonalLinearOperator(scale * jnp.sqrt(lx.diagonal(covariance)))
        return lx.MatrixLinearOperator(scale * _root(_matrix(covariance, x)), lx.lower_triangular_tag)

    def covariance(self, t, x) -> lx.AbstractLinearOperator:
        """GGᵀ = ηη_t² Cov(mean message)."""
        t, x = _arguments(t, x)
        return self.law.covariance(x) * (self.eta * self.rate(t, x) ** 2)

    def loss_drift(self, t, x) -> Scalar:
        """Itô drift of f(X_t): ∇f·drift + ½ tr(H GGᵀ) (P Eqs. 45-51). Costs d Hessian products."""
        t, x = _arguments(t, x)
        if self.noiseless:
            return jnp.vdot(self.problem.gradient(x), self.drift(t, x))
        unit = jnp.eye(x.shape[0], dtype=x.dtype)
        rows = jax.vmap(lambda v: self.problem.hessian_product(x, v))(unit)
        covariance = self.covariance(t, x)
        trace = (
            jnp.sum(jnp.diagonal(rows) * lx.diagonal(covariance))
            if lx.is_diagonal(covariance)
            else jnp.sum(rows * _matrix(covariance, x))
        )
        return jnp.vdot(self.problem.gradient(x), self.drift(t, x)) + trace / 2

    def loss_volatility(self, t, x, form: str = "corrected") -> Scalar:
        """Volatility of f(X_t): √(ηη_t² gᵀCg), C the covariance of the mean message; form="printed" is P Eq. 52, without the η."""
        t, x = _arguments(t, x)
        one_of("form", form, FORMS)
        gradient = self.problem.gradient(x)
        square = jnp.vdot(gradient, self.covariance(t, x).mv(gradient))
        return jnp.sqrt(square if form == "corrected" else square / self.eta)


def _arguments(t, x) -> tuple[Scalar, Vector]:
    x = jnp.asarray(x)
    return jnp.asarray(t, x.real.dtype), x


def _matrix(operator: lx.AbstractLinearOperator, x: Vector) -> Float[Array, "d d"]:
    """A symmetric operator's matrix; lineax's own `as_matrix` fails for functions under `shard_map`."""
    return jax.vmap(operator.mv)(jnp.eye(x.shape[0], dtype=x.dtype))


def _root(matrix: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """A lower triangular root of a positive semidefinite matrix, with a column of zeros for each pivot that is 0.

    By plain arithmetic: batched LAPACK calls inside a loop deadlock when a process has several CPU devices, and are slower.
    """
    size, rows = matrix.shape[0], jnp.arange(matrix.shape[0])
    least = jnp.finfo(matrix.dtype).eps * size * jnp.diagonal(matrix)

    def column(j, root):
        rest = matrix[:, j] - root @ root[j]
        counts = rest[j] > least[j]
        scaled = rest / jnp.sqrt(jnp.where(counts, rest[j], 1))
        return root.at[:, j].set(jnp.where(counts & (rows >= j), scaled, 0))

    return lax.fori_loop(0, size, column, jnp.zeros_like(matrix))


def model(
    setup: Setup, kind: str, schedule: Schedule, form: str = "corrected", gradient_norm: float | None = None
) -> Model:
    """The continuous model `kind` of the optimizer that `setup` and `schedule` describe.

    Args:
        kind: "first" (−m), "classic" (−m − (η/2)J_m m), "new" (−m + (η/2)c with g·c = mᵀHm; c = Hg for unbiased messages),
            "flip" (−m + (η/2)J_m m), or "principal" (gradient descent only).
        schedule: η and η_t. It may depend on the time and the gradient norm, not on what only the server's messages show.
        form: "printed" gives P Eq. 134 ("new") and S2 Eq. 102 ("classic") for signs.
        gradient_norm: ‖∇f(x0)‖, which a `StepLimit` without L1 needs.

    Raises:
        InvalidInput: for an unknown kind or form, a schedule without a model, or messages whose covariance does not exist.

    >>> from stablestep import problem, schedule
    >>> from stablestep.setup import Agents
    >>> sde = model(Setup(problem.Quadratic([2.0]), Agents(1)), "new", schedule.Constant(0.1))
    >>> round(float(sde.drift(0.0, jnp.array([1.0]))[0]), 6)     # −2 + (0.1/2)·2·2
    -1.8
    """
    require(
        isinstance(kind, str) and kind in drifts.DRIFTS,
        f'there is no model "{kind}". {nearest(str(kind), drifts.DRIFTS)}',
    )
    one_of("form", form, FORMS)
    _check_schedule(schedule)
    setup.require_memoryless("a continuous model")
    messages = law(setup)
    if form == "printed":
        drifts.printed_form(kind, messages.groups)
        drifts.check_printed(messages.groups, messages.differs)
    if kind == "principal":
        drifts.check_principal(messages.groups)
    bound = schedule
    if isinstance(schedule, StepLimit):
        needed = schedule.L1 is None and schedule.constants is None
        require(
            gradient_norm is not None or not needed,
            "StepLimit without L1 needs gradient_norm, the gradient's norm at x0; give one.",
        )
        bound = schedule.bind(setup, gradient_norm if gradient_norm is not None else math.nan)
    silent = all(group.silent and group.compressor.deterministic for group in messages.groups)
    built = Model(setup.problem, messages, bound, float(schedule.eta), kind, form, silent)
    _check_moments(built)
    return built


def _check_schedule(schedule: Schedule) -> None:
    instance("schedule", schedule, Schedule, "schedule.Constant(0.1)")
    require(
        not schedule.sees_messages,
        f"{type(schedule).__name__} depends on the messages themselves, so it has no continuous model; "
        "use Constant, Polynomial, Custom or StepLimit.",
    )
    require(
        not schedule.needs_ensemble,
        "a step that follows E‖∇f‖ is a law of all runs together, which has no model of a single path; "
        "leave out expectation=True.",
    )


def _check_moments(built: Model) -> None:
    for group in built.law.groups:
        require(
            group.noise.has_variance or group.compressor.bounded,
            f"{type(group.noise).__name__} noise has no variance here, so {group.compressor.name} messages have no SDE; "
            "signs do: use compressor=Sign(), or a noise with a variance (StudentT: df > 2).",
        )
    point = jnp.zeros(built.problem.dim)
    if not built.noiseless:
        _check_covariance(built, point)
    jax.eval_shape(lambda x: built.drift(0.0, x), point)


def _check_covariance(built: Model, point: Vector) -> None:
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


def check_start(built: Model, points: Float[Array, "runs d"]) -> None:
    """Raise `InvalidInput` where the drift does not exist or is not finite at the runs' first points."""
    flow = built.kind == "principal"
    probe = np.asarray(points)[:16]
    try:
        found = _drifts(cast(built, points.dtype), probe.astype(np.result_type(probe, 1j)) if flow else probe)
    except (TypeError, NotImplementedError) as error:
        raise InvalidInput(
            f'the model "{built.kind}" needs a derivative of {type(built.problem).__name__} that JAX cannot take '
            f'({str(error).splitlines()[0]}); write f with jax.numpy, or use "first".'
        ) from error
    cause = "an eigenvalue of the Hessian is 1/η" if flow else "a second derivative of f does not exist"
    require(
        bool(np.all(np.isfinite(found))),
        f'the drift of the model "{built.kind}" is not finite at x0, because {cause} there; start elsewhere, or use another model or η.',
    )


@eqx.filter_jit
def _drifts(built: Model, points):
    return jax.vmap(lambda x: built.drift(0.0, x))(points)


def steps_of(time: float, dt: float | None, eta: float) -> tuple[int, float]:
    """How many steps of which length: dt by default η/16, adjusted so that whole steps reach `time`."""
    chosen = eta / 16 if dt is None else dt
    require(
        np.ndim(chosen) == 0 and bool(0 < chosen <= eta * (1 + 1e-9)),
        f"dt is {chosen}, but must be in (0, η], η = {eta:g}; η/16 is the default.",
    )
    require(
        np.ndim(time) == 0 and bool(0 < time < math.inf), f"time is {time}, but must be a finite number greater than 0."
    )
    steps = max(1, round(time / chosen))
    return steps, time / steps
