"""A continuous model of an optimizer, built from the law of its messages and of what it remembers."""

from typing import Literal, overload

import jax
import jax.numpy as jnp
import lineax as lx

from stablestep.errors import FORMS, instance, nearest, one_of, require, shown
from stablestep.message import Law, law
from stablestep.schedule import Normalized, Schedule
from stablestep.sde import check
from stablestep.sde import drift as drifts
from stablestep.sde.continuous import Continuous, Scalar, Vector, arguments
from stablestep.sde.memory import Memory, linear_memory
from stablestep.sde.normalized import DirectionLaw, direction_law
from stablestep.sde.root import matrix_of, root_of
from stablestep.sde.sampled import sampled
from stablestep.sde.signum import is_signum, signum_law
from stablestep.sde.underdamped import KINDS as UNDERDAMPED
from stablestep.sde.underdamped import underdamped
from stablestep.setup import Setup

KINDS = (*drifts.DRIFTS, *UNDERDAMPED)


class Model(Continuous):
    """dX = drift(t, X) dt + diffusion(t, X) dW, with diffusion·diffusionᵀ = η_e κ η_t² Cov(mean message); t = kη_e.

    Without memory η_e = η and κ = 1. With a linear one Cov is that of the mean message that is fresh (for error feedback and EF21:
    of the uncompressed gradient), and `start` says where the model starts.
    """

    def begin(self, x):
        return x

    def point(self, state):
        return state

    def drift(self, t, state) -> Vector:
        """The drift at time t and point x (d,)."""
        t, x = arguments(t, state)
        function = (
            drifts.DRIFTS[self.kind] if self.form == "corrected" else drifts.printed_form(self.kind, self.law.groups)
        )
        return function(self, t, x)

    def spread(self, t, state, vector):
        return self.diffusion(t, state).mv(vector)

    def start(self, x0) -> Vector:
        """X(0) = x0 + τη_e η_0 m(x0), τ the delay of the memories that start at 0; x0 itself where all are warm.

        The other start makes a model of second order one of first order, and worse than the first-order model from the right start.
        """
        t, x = arguments(0.0, x0)
        return x + self.memory.cold * self.eta_effective * self.field(t, x)

    def diffusion(self, t, x) -> lx.AbstractLinearOperator:
        """G with GGᵀ = η_e κ η_t² Cov(mean message): diagonal where the covariance is, else a triangular root (d ≤ 512)."""
        t, x = arguments(t, x)
        scale = self.rate(t, x) * jnp.sqrt(jnp.asarray(self.eta_effective, x.dtype))
        if isinstance(self.law, DirectionLaw):
            return self.law.root(x) * scale
        root = root_of(self._amplified(self.law.covariance(x), x), x)
        if lx.is_diagonal(root):
            return lx.DiagonalLinearOperator(scale * lx.diagonal(root))
        return lx.MatrixLinearOperator(scale * root.as_matrix(), lx.lower_triangular_tag)

    def covariance(self, t, x) -> lx.AbstractLinearOperator:
        """GGᵀ = η_e κ η_t² Cov(mean message)."""
        t, x = arguments(t, x)
        return self._amplified(self.law.covariance(x), x) * (self.eta_effective * self.rate(t, x) ** 2)

    def _amplified(self, covariance: lx.AbstractLinearOperator, x: Vector) -> lx.AbstractLinearOperator:
        if self.memory.crossed is None:
            return covariance
        if lx.is_diagonal(covariance):
            return covariance * self.memory.kappa
        matrix = matrix_of(covariance, x)
        variance = jnp.diag(jnp.diagonal(matrix))
        return lx.MatrixLinearOperator(matrix + (self.memory.kappa - 1) * variance, lx.positive_semidefinite_tag)

    def loss_drift(self, t, x) -> Scalar:
        """Itô drift of f(X_t): ∇f·drift + ½ tr(H GGᵀ) (P Eqs. 45-51). Costs d Hessian products."""
        t, x = arguments(t, x)
        if self.noiseless:
            return jnp.vdot(self.problem.gradient(x), self.drift(t, x))
        unit = jnp.eye(x.shape[0], dtype=x.dtype)
        rows = jax.vmap(lambda v: self.problem.hessian_product(x, v))(unit)
        covariance = self.covariance(t, x)
        trace = (
            jnp.sum(jnp.diagonal(rows) * lx.diagonal(covariance))
            if lx.is_diagonal(covariance)
            else jnp.sum(rows * matrix_of(covariance, x))
        )
        return jnp.vdot(self.problem.gradient(x), self.drift(t, x)) + trace / 2

    def loss_volatility(self, t, x, form: str = "corrected") -> Scalar:
        """Volatility of f(X_t): √(ηη_t² gᵀCg), C the covariance of the mean message; form="printed" is P Eq. 52, without the η."""
        t, x = arguments(t, x)
        one_of("form", form, FORMS)
        gradient = self.problem.gradient(x)
        square = jnp.vdot(gradient, self.covariance(t, x).mv(gradient))
        return jnp.sqrt(square if form == "corrected" else square / self.eta)


@overload
def model(
    setup: Setup,
    kind: Literal["first", "classic", "new", "flip", "principal"],
    schedule: Schedule,
    form: str = "corrected",
    gradient_norm: float | None = None,
    samples: int | None = None,
    seed: int = 0,
) -> Model: ...
@overload
def model(
    setup: Setup,
    kind: str,
    schedule: Schedule,
    form: str = "corrected",
    gradient_norm: float | None = None,
    samples: int | None = None,
    seed: int = 0,
) -> Continuous: ...
def model(
    setup: Setup,
    kind: str,
    schedule: Schedule,
    form: str = "corrected",
    gradient_norm: float | None = None,
    samples: int | None = None,
    seed: int = 0,
) -> Continuous:
    """The continuous model `kind` of the optimizer that `setup` and `schedule` describe.

    Linear memories have the *effective-step* models "first", "classic" and "new" in the time t = kη_e, where their own parameters (β, the
    mask's p) stay fixed as η → 0: η_e = η/(1−β) for heavy ball, τ steps of delay and κ as in `Model.kappa`. Heavy ball also has
    *underdamped* models of the pair (x, m), where β → 1 as η → 0. NSGD (schedule.Normalized, Gaussian noise) has all memoryless ones,
    Signum (Momentum(Sign(), beta) under Gaussian or Cauchy noise) "first".

    Args:
        kind: "first" (−m), "classic" (−m − (η_e/2)(1 + 2τ) J_m m), "new" (−m + (η_e/2) θ̂ c with g·c = mᵀHm; c = Hg for unbiased messages),
            "flip" (−m + (η/2)J_m m, no memory), "principal" (gradient descent only), "underdamped-a" (1 − β = cη_e, t = kη_e),
            "underdamped-a-classic" (of weak order 2) or "underdamped-b" (1 − β = γ√η, t = k√η).
        schedule: η and η_t. It may depend on the time and the gradient norm, not on what only the server's messages show.
        form: "printed" gives P Eq. 134 ("new") and S2 Eq. 102 ("classic") for signs.
        gradient_norm: ‖∇f(x0)‖, which a `StepLimit` without L1 needs.
        samples: for messages whose moments have no closed form (a compressor of your own without `covariance`, QSGD under noise): the
            covariance is then that of this many draws at x, the same ones at every x. A mean without a closed form (Top-k under noise) is
            sampled too, for "first" alone. Closed forms are used where they exist.
        seed: of these draws.

    Raises:
        InvalidInput: for an unknown kind or form, a schedule or a memory without a model, or messages whose covariance does not exist, or
            has no closed form and `samples` is not given.

    >>> from stablestep import problem, schedule, server
    >>> from stablestep.setup import Agents
    >>> sde = model(Setup(problem.Quadratic([2.0]), Agents(1)), "new", schedule.Constant(0.1))
    >>> round(float(sde.drift(0.0, jnp.array([1.0]))[0]), 6)     # −2 + (0.1/2)·2·2
    -1.8
    >>> momentum = Setup(problem.Quadratic([2.0]), Agents(1), server=server.HeavyBall(0.5))
    >>> sde = model(momentum, "classic", schedule.Constant(0.1))
    >>> round(sde.eta_effective, 6), sde.delay, sde.start(jnp.array([1.0])).round(6).tolist()     # 1 + τη_e g
    (0.2, 1.0, [1.4])
    """
    instance("setup", setup, Setup, "Setup(problem, Agents(4))")
    known = isinstance(kind, str) and kind in KINDS
    require(known, f"there is no model {shown(str(kind))}. {nearest(str(kind), KINDS)}")
    one_of("form", form, FORMS)
    instance("schedule", schedule, Schedule, "schedule.Constant(0.1)")
    if kind in UNDERDAMPED:
        return underdamped(setup, kind, check.bound(schedule, setup, gradient_norm), form, samples, seed)
    messages, memory = _messages(setup, kind, schedule)
    if samples is not None and isinstance(messages, Law):
        messages = sampled(messages, kind, samples, seed)
    if form == "printed":
        check.no_memory_printed(setup)
        drifts.printed_form(kind, messages.groups)
        drifts.check_printed(messages.groups, messages.differs)
    if kind == "principal":
        drifts.check_principal(messages.groups)
    inner = schedule.schedule if isinstance(schedule, Normalized) else schedule
    bound = check.bound(inner, setup, gradient_norm)
    built = Model(
        setup.problem, messages, bound, float(schedule.eta), memory, kind, form, check.noiseless(messages.groups)
    )
    check.moments(built)
    return built


def _messages(setup: Setup, kind: str, schedule: Schedule):
    """The law of the messages that the model is made of, and what the memory does."""
    if isinstance(schedule, Normalized):
        return direction_law(setup), Memory()
    if is_signum(setup):
        require(
            kind == "first",
            f'Signum has no model "{kind}", as momentum before the sign makes its messages depend on each other; use "first".',
        )
        return signum_law(setup), Memory()
    if setup.memory is None:
        return law(setup), Memory()
    fresh, memory = linear_memory(setup)
    check.memory_kind(setup, kind, memory)
    return law(fresh), memory
