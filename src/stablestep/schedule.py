"""Step sizes: the step at time t = kη is ηη_t, a function of the time and of what the server sees."""

import abc
import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stablestep.errors import (
    InvalidInput,
    at_least_zero,
    checked,
    flag,
    instance,
    positive,
    require,
    shown,
    whole,
    within,
)
from stablestep.setup import Setup
from stablestep.theorem import Constants, Variant, constants
from stablestep.theorem import result as find_result

Scalar = Float[Array, ""]
ENSEMBLE = "runs"  # the axis over which runs are mapped


class Seen(NamedTuple):
    """What a schedule may depend on besides the time: ‖∇f(x)‖, the norm of the mean message, the mean of the agents' own norms, and the
    norm of the direction that the server made of the message."""

    gradient_norm: Scalar
    message_norm: Scalar
    local_norm: Scalar
    direction_norm: Scalar


class Schedule(eqx.Module):
    """A step size h = ηη_t; `eta` is η, and t = kη."""

    eta: eqx.AbstractVar[float]

    @abc.abstractmethod
    def step(self, t: Scalar, seen: Seen) -> Scalar:
        """The step ηη_t, in the type of t.

        Args:
            t: the time kη.
            seen: norms of the gradient, the mean message, the agents' own gradients and the direction; NaN where they are not known
                yet, or to a law.
        """

    def phi(self, order: int, t: float) -> float:
        """φ^order_t = ∫₀ᵗ (η_s)^order ds (P Section 4), a time.

        Args:
            order: 1 or 2.
            t: the time, kη.

        Raises:
            InvalidInput: where η_t depends on the path, or for another order.
        """
        raise InvalidInput(
            f"{type(self).__name__} depends on the path, so φ is random; φ exists for Constant, Polynomial and Custom."
        )

    def robbins_monro(self) -> bool:
        """Whether φ¹ → ∞ and φ²/φ¹ → 0 (P Section 4).

        Raises:
            InvalidInput: where that is not known.
        """
        raise InvalidInput(
            f"{type(self).__name__} has no known limit of φ²/φ¹; it is known for Constant and Polynomial."
        )

    @property
    def needs_agents(self) -> bool:
        """Whether it needs each agent's own gradient norm, which only agent-by-agent sampling knows."""
        return False

    @property
    def needs_ensemble(self) -> bool:
        """Whether a run's step depends on the other runs, so that all must be simulated together."""
        return False

    @property
    def sees_messages(self) -> bool:
        """Whether the step depends on the messages themselves, which no agent knows before it sends, and no SDE model knows."""
        return self.needs_agents

    def bind(self, setup: Setup, gradient_norm: float) -> "Schedule":
        """This schedule for a given setup, started at a point where ‖∇f‖ is `gradient_norm`.

        Raises:
            InvalidInput: if it does not fit the setup.
        """
        return self


def _order(order: int) -> None:
    whole("order", order, least=1, most=2, hint=": φ¹ and φ² are the ones there are")


class Constant(Schedule):
    """h = η.

    Raises:
        InvalidInput: if η ≤ 0.

    >>> Constant(0.1).phi(2, t=10.0)
    10.0
    """

    eta: float = eqx.field(converter=checked(positive, "eta"))

    def step(self, t, seen):
        return jnp.asarray(self.eta, t.dtype)

    def phi(self, order, t):
        _order(order)
        return float(t)

    def robbins_monro(self):
        return False


class Polynomial(Schedule):
    """h = η (1+t)^-a.

    φ^i = ((1+t)^(1−ia) − 1)/(1 − ia), or ln(1+t) where ia = 1. The Robbins-Monro conditions hold for every a in (0, 1]; φ²/φ¹ decays
    like t^-min(a, 1−a) (with a logarithm at a = ½), not like t^-a as P Section 4 says.

    Raises:
        InvalidInput: if η ≤ 0 or a < 0.

    >>> round(Polynomial(0.1, power=0.25).phi(1, t=10.0), 10), Polynomial(0.1, power=0.5).robbins_monro()
    (6.7201404727, True)
    """

    eta: float
    power: float

    def __init__(self, eta, power):
        self.eta = positive("eta", eta)
        self.power = at_least_zero("power", power)

    def step(self, t, seen):
        return self.eta * jnp.power(1 + t, -self.power)

    def phi(self, order, t):
        _order(order)
        exponent = 1 - order * self.power
        return math.log1p(t) if exponent == 0 else math.expm1(exponent * math.log1p(t)) / exponent

    def robbins_monro(self):
        return 0 < self.power <= 1


class Custom(Schedule):
    """h = η · function(t) for a JAX function of the time.

    Raises:
        InvalidInput: if η ≤ 0, or the function does not give a number.

    >>> round(Custom(0.1, lambda t: 1 / (1 + t)).phi(1, t=10.0), 10)
    2.3978952728
    """

    eta: float
    function: Callable = eqx.field(static=True)

    def __init__(self, eta, function):
        self.eta = positive("eta", eta)
        require(
            callable(function),
            f"function is {function!r}, but must be a function of the time, such as lambda t: 1 / (1 + t).",
        )
        require(
            jnp.shape(function(jnp.asarray(0.0))) == (), "the schedule's function must give one number for one time."
        )
        self.function = function

    def step(self, t, seen):
        return self.eta * jnp.asarray(self.function(t), t.dtype)

    def phi(self, order, t):
        _order(order)
        with jax.enable_x64(True):
            from scipy import integrate  # slow to load

            return integrate.quad(lambda s: float(self.function(jnp.asarray(s))) ** order, 0, t, limit=200)[0]


class LocalNorms(Schedule):
    """h = η0/(1 + Ĝ), Ĝ the mean over agents of the norms of their own noisy gradients (P Eqs. 145-147).

    Ĝ overestimates ‖∇f‖ (by √(1 + dσ1²) when N is large), which errs on the safe side; it needs agent-by-agent sampling.

    Raises:
        InvalidInput: if η0 ≤ 0.

    >>> LocalNorms(eta0=0.1).needs_agents
    True
    """

    eta0: float

    def __init__(self, eta0):
        self.eta0 = positive("eta0", eta0)

    @property
    def eta(self) -> float:
        """η0."""
        return self.eta0

    def step(self, t, seen):
        return self.eta0 / (1 + seen.local_norm)

    @property
    def needs_agents(self):
        return True


class Clip(Schedule):
    """h = η min(1, threshold/‖M‖) for the mean message M: clipping by the norm, the baseline everyone knows.

    Raises:
        InvalidInput: if η ≤ 0 or threshold ≤ 0.

    >>> Clip(0.1, threshold=1.0).threshold
    1.0
    """

    eta: float
    threshold: float

    def __init__(self, eta, threshold):
        self.eta = positive("eta", eta)
        self.threshold = positive("threshold", threshold)

    def step(self, t, seen):
        return self.eta * jnp.minimum(1, self.threshold / seen.message_norm)

    @property
    def sees_messages(self):
        return True


class Normalized(Schedule):
    """h = ηη_t/‖D‖ for the direction D that the server makes of the messages, 0 where D = 0: every step has the length ηη_t of `schedule`.

    With HeavyBall(average=True) it is NSGD with momentum, with EF21 the normalized EF21 of Khirirat et al. (2024).

    Args:
        schedule: gives ηη_t; not normalized itself.

    Raises:
        InvalidInput: if `schedule` is no schedule, or is Normalized.

    >>> Normalized(Constant(0.05)).eta
    0.05
    """

    schedule: Schedule

    def __init__(self, schedule):
        self.schedule = instance("schedule", schedule, Schedule, "Constant(0.05)")
        require(
            not isinstance(schedule, Normalized),
            f"schedule is {shown(schedule)}, which is normalized already; give the schedule inside it.",
        )

    @property
    def eta(self) -> float:
        """η of the schedule inside."""
        return self.schedule.eta

    def step(self, t, seen):
        norm = seen.direction_norm
        moves = norm > 0
        return jnp.where(moves, self.schedule.step(t, seen) / jnp.where(moves, norm, 1), 0)

    @property
    def needs_agents(self):
        return self.schedule.needs_agents

    @property
    def needs_ensemble(self):
        return self.schedule.needs_ensemble

    @property
    def sees_messages(self):
        return True

    def bind(self, setup, gradient_norm):
        return Normalized(self.schedule.bind(setup, gradient_norm))


class StepLimit(Schedule):
    """The smaller of η (1+t)^-power and a theorem's limit at the path's own gradient norm:

    h = min(η (1+t)^-a, 2ε/((L0 + L1‖∇f(x)‖) R + L1 F)), R and F as in `theorem.Result`; for signs, a constant limit. This is the
    pathwise rule (P Eqs. 67, 84, 101, 119). The printed rule (P Eqs. 4, 16, 54, 71, 89, 108) has E‖∇f‖ in place of the path's own norm
    and is unsound: rare runs escape. `expectation=True` gives it, as the mean over the runs that are simulated together.

    Args:
        result: the theorem, such as "4.2", "B.2", "4.3" or "S2 4.2".
        eta: η, the cap; t = kη.
        epsilon: ε in (0, 1), which signs do not need.
        L1: which pair (L0, L1) of the problem to use; by default the best one at the first gradient norm.
        power: decay a of the cap.
        constants: `theorem.Constants` to use instead of the setup's own.
        expectation: use the mean of ‖∇f‖ over all runs (unsound, to compare with the papers).
        form: "corrected", or "printed" for the paper's own limit; they differ for signs.

    Raises:
        InvalidInput: for an unknown result, or an ε or η out of range; when it is bound to a setup outside the theorem's hypotheses.

    >>> StepLimit("4.2", eta=0.1, epsilon=0.5).epsilon
    0.5
    """

    eta: float
    epsilon: float
    L1: float | None
    power: float
    constants: Constants | None
    result: str = eqx.field(static=True)
    expectation: bool = eqx.field(static=True)
    form: str = eqx.field(static=True)

    def __init__(
        self, result, eta, epsilon=0.5, L1=None, power=0.0, constants=None, expectation=False, form="corrected"
    ):
        self.result = find_result(result).name
        self.eta = positive("eta", eta)
        self.epsilon = within("epsilon", epsilon, 0, 1, hint=", such as 0.5")
        self.power = at_least_zero("power", power)
        require(
            L1 is None or constants is None,
            f"L1 is {L1}, but constants hold an L1 of their own; give one or the other.",
        )
        self.L1 = None if L1 is None else at_least_zero("L1", L1)
        self.constants = constants
        self.expectation = flag("expectation", expectation)
        self.form = Variant(form=form).form

    def bind(self, setup, gradient_norm):
        setup.require_memoryless(f"StepLimit (the result {self.result})")
        theorem, c = find_result(self.result), self.constants or self._constants(setup, gradient_norm)
        offset, slope = theorem.normalization(c, self.epsilon, form=self.form)
        rule = " with E‖∇f‖" if self.expectation else ""
        source = Note(f"{theorem.reference}{rule}; L0 = {c.L0:g}, L1 = {c.L1:g}, ε = {self.epsilon:g}")
        return Limited(self.eta, self.power, slope, offset, source, self.expectation)

    def _constants(self, setup: Setup, gradient_norm: float) -> Constants:
        if self.L1 is not None:
            return constants(setup, L1=self.L1)
        require(gradient_norm > 0, "the gradient at x0 is 0, so no pair (L0, L1) is best there; give L1.")
        return constants(setup, gradient_norm=gradient_norm)

    @property
    def needs_ensemble(self):
        return self.expectation

    def step(self, t, seen):
        raise InvalidInput("StepLimit is not bound to a setup; call .bind(setup, gradient_norm) first.")


class Note(str):
    """Text beside a schedule that does not take part in compilation: every note equals every other, so that kernels are shared."""

    def __eq__(self, other):
        return isinstance(other, Note)

    def __ne__(self, other):  # str has one of its own
        return not isinstance(other, Note)

    def __hash__(self):
        return 0


class Limited(Schedule):
    """h = min(η (1+t)^-power, 1/(offset + slope ‖∇f(x)‖)): what `StepLimit` becomes for a given setup."""

    eta: float
    power: float
    slope: float
    offset: float
    source: Note = eqx.field(static=True)
    expectation: bool = eqx.field(static=True, default=False)

    @property
    def needs_ensemble(self):
        return self.expectation

    def step(self, t, seen):
        norm = jax.lax.pmean(seen.gradient_norm, ENSEMBLE) if self.expectation else seen.gradient_norm
        # A product, not a quotient: where nothing limits the step the quotient would be 1/0.
        growth = self.offset + self.slope * norm
        cap = self.eta * jnp.power(1 + t, -self.power)
        return jnp.where(cap * growth <= 1, cap, 1 / growth)
