"""What results on the optimizer itself, in discrete time, share: no SDE stands between them and what is run."""

import abc
from dataclasses import dataclass

import numpy as np

from stablestep.errors import at_least_zero, require
from stablestep.theorem.constants import Constants
from stablestep.theorem.measure import huber, huber_inverse
from stablestep.theorem.remainder import last_positive, psi
from stablestep.theorem.result import Hypothesis, Result, checked_gap
from stablestep.theorem.taken import Taken, taken
from stablestep.theorem.variant import variant


@dataclass(frozen=True, kw_only=True)
class Discrete(Result):
    """Σ_k h_k bracket(h_k) E measure(∇f(x_k)) ≤ share · S0 + Σ_k cost(h_k) + (the memory's start), h_k = ηη_t deterministic.

    The bound is the right side over Σ h_k bracket(h_k), and the random iteration has the probabilities h_k bracket(h_k)/Σ. A step at which
    the bracket is not positive bounds nothing and is refused; the bracket falls with the step, so that there is a largest one.
    """

    sde: str = "discrete"
    aliases: tuple[str, ...] = ()
    forms: tuple[str, ...] = ("corrected",)
    share: float = 1.0
    any_schedule: bool = True
    strict: bool = True

    @abc.abstractmethod
    def bracket(self, c: Constants, h, epsilon: float | None = None):
        """What is left of the descent h · measure at steps h."""

    @abc.abstractmethod
    def cost(self, c: Constants, h):
        """What each step h costs, whatever the gradient."""

    def started(self, c: Constants, h: float, initial_error: float | None) -> float:
        """What the start of the memory costs."""
        return 0.0

    def assumed(self, c: Constants) -> tuple[Hypothesis, ...]:
        """What it assumes of the constants."""
        return ()

    def assumptions(self, c, **options):
        chosen = variant(options)
        return (
            Hypothesis(
                "one form",
                chosen.plain and not chosen.printed and chosen.radius is None,
                f"{self.name} has one form only; leave form, unit, young and radius out.",
            ),
            *self.assumed(c),
        )

    def times(self, eta, phi1, phi2, steps):
        require(
            phi1 is None and phi2 is None,
            f"{self.name} is about discrete steps, not about φ¹ and φ² of a time; give eta and steps=K, or steps=[h_0, …].",
        )
        return {"steps": taken(self.name, eta, steps)}

    def step_limit(self, c, gradient_norm=None, epsilon=None, **options):
        self.check(c, **options)
        return last_positive(lambda h: float(self.bracket(c, h)), guess=_unit(c))

    def bound(self, c, steps: Taken, initial_gap=None, epsilon=None, initial_error=None, **options):
        weight = self._weight(c, steps, epsilon, options)
        spent = self.share * checked_gap(c, initial_gap) + steps.total(lambda h: self.cost(c, h))
        return (spent + self.started(c, steps.largest, initial_error)) / weight

    def density(self, c, steps: Taken, eta_t=None, epsilon=None, **options):
        weight = self._weight(c, steps, epsilon, options)
        each = steps.each * self.bracket(c, steps.each, epsilon) / weight
        return float(each[0]) if steps.repeated > 1 else each

    def _weight(self, c: Constants, steps: Taken, epsilon: float | None, options: dict) -> float:
        """Σ h_k bracket(h_k), all positive."""
        limit = self.step_limit(c, 0.0, epsilon, **options)
        require(
            self.any_schedule or steps.constant,
            f"{self.name} is about a constant step, but steps range up to {steps.largest:.4g}; give eta and steps=K.",
        )
        self.require_below(limit, steps.largest, "the largest step", strict=self.strict)
        return steps.total(lambda h: h * self.bracket(c, h, epsilon))


def _unit(c: Constants) -> float:
    """A step of the right order of magnitude."""
    L0, L1 = c.smoothness
    return 1 / (L1 or L0 or 1.0)


@dataclass(frozen=True, kw_only=True)
class Bounded(Discrete):
    """Theorem B of theory2 section 5: messages ‖M‖ ≤ R with g·E M ≥ Ψ(g) = ‖g‖²/(b + ‖g‖) ≥ ‖g‖ − b, without memory.

    Σ (h_k − L1 ψ(R h_k)) E Ψ(∇f(x_k)) ≤ S0 + (L0 + L1 b) Σ ψ(R h_k): the step asks nothing of the gradient, since it is bounded.
    """

    @abc.abstractmethod
    def radius(self, c: Constants) -> float:
        """R."""

    @abc.abstractmethod
    def offset(self, c: Constants) -> float:
        """b."""

    def bracket(self, c, h, epsilon=None):
        _, L1 = c.smoothness
        return 1 - L1 * self.remainder(c, h) / h

    def cost(self, c, h):
        L0, L1 = c.smoothness
        return (L0 + L1 * self.offset(c)) * self.remainder(c, h)

    def remainder(self, c: Constants, h):
        """ψ(R h)."""
        return psi(self.radius(c) * h, c.smoothness[1])

    def measure(self, c, gradient_norm, **options):
        return huber(gradient_norm, self.offset(c))

    def gradient_norm_bound(self, c, value, **options):
        return huber_inverse(value, self.offset(c))


def checked_error(name: str, initial_error: float | None, what: str) -> float:
    """δ0 as given."""
    require(
        initial_error is not None,
        f"initial_error is missing; {name} needs {what}, 0 for a memory that starts warm, at the exact gradient.",
    )
    return at_least_zero("initial_error", initial_error)


def smooth(name: str, c: Constants) -> Hypothesis:
    """L1 = 0."""
    _, L1 = c.smoothness
    return Hypothesis(
        "a bounded Hessian",
        L1 == 0,
        f"{name} needs a bounded Hessian, but L1 is {L1:.6g}; use a pair (L0, 0), or a result on normalized steps.",
    )


def relative_free(name: str, c: Constants) -> Hypothesis:
    """No noise that grows with the gradient."""
    return Hypothesis(
        "no relative noise",
        c.A == 0,
        f"{name} needs noise that does not grow with the gradient, but A is {c.A:.6g} (ω, σ1², which no average of normalized "
        "steps removes); leave compression and sigma1_sq out, or use 4.2's step.",
    )


def noise_free(name: str, c: Constants) -> Hypothesis:
    """σ0 = σ1 = 0."""
    largest = max(float(np.max(c.sigma0_sq)), float(np.max(c.sigma1_sq)))
    return Hypothesis(
        "no gradient noise",
        largest == 0 and (c.scale_max is None or not np.any(c.scale_max)),
        f"{name} is about gradients without noise, but the constants have noise; leave it out, or use a result that allows it.",
    )
