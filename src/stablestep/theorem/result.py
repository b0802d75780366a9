"""What every result offers, and the form that all results on unbiased messages share."""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stablestep.errors import InvalidInput, require
from stablestep.theorem.constants import Constants
from stablestep.theorem.variant import Variant, variant


@dataclass(frozen=True)
class Hypothesis:
    """One assumption of a result: what it says, whether it holds, and if not, in one sentence why and what would satisfy it."""

    statement: str
    holds: bool
    failure: str = ""


@dataclass(frozen=True, kw_only=True)
class Result(abc.ABC):
    """A published theorem: while the step ηη_t stays below `step_limit` on each path, E measure(∇f(X_t̂)) ≤ `bound`,

    where the random time t̂ has the density `density`. `sde` names the model it is proved for, `method` the optimizer.
    """

    name: str
    aliases: tuple[str, ...]
    reference: str
    method: str
    sde: str

    @abc.abstractmethod
    def hypotheses(self, c: Constants, **options) -> tuple[Hypothesis, ...]:
        """The assumptions on the constants, checked one by one."""

    @abc.abstractmethod
    def step_limit(self, c: Constants, gradient_norm: float | None, epsilon: float | None, **options) -> float:
        """The largest ηη_t; ∞ where the result asks for nothing."""

    def normalization(self, c: Constants, epsilon: float | None, **options) -> tuple[float, float]:
        """(a, b) of the limit as a normalized step, 1/(a + b‖∇f‖); b = 0 for signs."""
        offset, at_one = (1 / self.step_limit(c, norm, epsilon, **options) for norm in (0.0, 1.0))
        return offset, at_one - offset

    @abc.abstractmethod
    def bound(self, c: Constants, eta: float, phi1: float, phi2: float, **options) -> float:
        """The right-hand side."""

    @abc.abstractmethod
    def density(self, c: Constants, eta: float, eta_t, phi1: float, phi2: float, **options):
        """The density of the random time at times where the schedule is `eta_t`."""

    def measure(self, c: Constants, gradient_norm, **options):
        """What is bounded in expectation: ‖∇f‖² unless the result says otherwise."""
        return np.square(gradient_norm)

    def gradient_norm_bound(self, c: Constants, value: float, **options) -> float:
        """What a bound of `value` says about E‖∇f(X_t̂)‖."""
        return math.sqrt(value)

    def applies(self, c: Constants, **options) -> bool:
        return all(hypothesis.holds for hypothesis in self.hypotheses(c, **options))

    def _check(self, c: Constants, **options) -> None:
        for hypothesis in self.hypotheses(c, **options):
            require(hypothesis.holds, hypothesis.failure)


def checked_time(eta: float, phi1: float, phi2: float) -> None:
    """Raise unless η, φ¹ and φ² can be those of a schedule."""
    for name, value in (("eta", eta), ("phi1", phi1)):
        require(0 < value < math.inf, f"{name} is {value}, but must be a finite number greater than 0.")
    require(0 <= phi2 < math.inf, f"phi2 is {phi2}, but must be a finite number of at least 0.")


def checked_gap(c: Constants, initial_gap: float | None) -> float:
    """S0 as given, or that of the constants."""
    gap = c.initial_gap if initial_gap is None else initial_gap
    if gap is None:
        raise InvalidInput("initial_gap is missing; give f(x0) − f*, here or in the constants.")
    require(0 <= gap < math.inf, f"initial_gap is {gap}, but must be finite and at least 0.")
    return float(gap)


def _no_extra(c: Constants, name: str) -> Hypothesis:
    return Hypothesis("every unbiased compressor and every affine variance", True)


@dataclass(frozen=True, kw_only=True)
class Unbiased(Result):
    """If ηη_t ≤ 2ε / ((L0 + L1‖∇f(X_t)‖) R + L1 F) on each path, then

    E‖∇f(X_t̂)‖² ≤ (S0 + φ² η (L0 + L1) F / 2) / ((1 − ε) φ¹), where t̂ has density η_t/φ¹.

    R is A/N, the growth of the messages' covariance with ‖∇f‖², and on the new SDE 1 + A/N, that of their second moment; F is B/N, what
    is left at a stationary point (`Constants.A`, `Constants.B`). The printed rules have E‖∇f(X_t)‖ in place of the path's own norm:
    same formula, unsound (see `schedule.StepLimit`). `printed_floor` is the coefficient of φ²η/2 in a bound that is printed differently.
    """

    extra: Callable[[Constants, str], Hypothesis] = _no_extra
    printed_floor: Callable[[Constants, float], float] | None = None

    def relative(self, c: Constants) -> float:
        """R."""
        return (self.sde == "new") + c.A / c.agents

    def floor(self, c: Constants) -> float:
        """F."""
        return c.B / c.agents

    def hypotheses(self, c, **options):
        chosen = variant(options)
        known = not c.signs or bool(np.any(c.sigma0_sq) or np.any(c.sigma1_sq))
        return (
            Hypothesis(
                "unbiased messages of finite variance",
                known,
                f"{self.name} is about unbiased messages of finite variance, but these constants describe signs (nu = {c.nu}); "
                "use 4.3 or B.8, or give sigma0_sq.",
            ),
            Hypothesis(
                "no radius",
                chosen.radius is None,
                f"radius is {chosen.radius}, but {self.name} has no radius version; leave it out.",
            ),
            self.extra(c, self.name),
        )

    def step_limit(self, c, gradient_norm=None, epsilon=None, **options):
        epsilon, chosen = self._checked(c, epsilon, options)
        if gradient_norm is None:
            raise InvalidInput(f"{self.name} depends on the gradient norm; give gradient_norm.")
        require(gradient_norm >= 0, f"gradient_norm is {gradient_norm}, but must be at least 0.")
        _, growth = chosen.split(c)
        denominator = (c.L0 + c.L1 * gradient_norm) * self.relative(c) + growth * self.floor(c)
        return 2 * epsilon / denominator if denominator > 0 else math.inf

    def bound(self, c, eta, phi1, phi2, initial_gap=None, epsilon=None, **options):
        epsilon, chosen = self._checked(c, epsilon, options)
        checked_time(eta, phi1, phi2)
        return (checked_gap(c, initial_gap) + phi2 * self._noise(c, eta, chosen) / 2) / ((1 - epsilon) * phi1)

    def _noise(self, c: Constants, eta: float, chosen: Variant) -> float:
        if chosen.printed and self.printed_floor is not None:
            return self.printed_floor(c, eta)
        constant, _ = chosen.split(c)
        return eta * constant * self.floor(c)

    def density(self, c, eta, eta_t, phi1, phi2, **options):
        self._check(c, **options)
        checked_time(eta, phi1, phi2)
        return np.asarray(eta_t) / phi1

    def _checked(self, c: Constants, epsilon: float | None, options: dict) -> tuple[float, Variant]:
        if epsilon is None:
            raise InvalidInput(f"{self.name} needs an epsilon between 0 and 1, such as 0.5.")
        require(0 < epsilon < 1, f"epsilon is {epsilon}, but must be between 0 and 1 (both excluded), such as 0.5.")
        self._check(c, **options)
        return epsilon, variant(options)


def uncompressed(c: Constants, name: str) -> Hypothesis:
    """ω = 0."""
    largest = float(np.max(c.omega))
    return Hypothesis(
        "no compression",
        largest == 0,
        f"{name} is about uncompressed messages, but omega is {largest}; use 4.2, which allows compression.",
    )


def bounded_variance(c: Constants, name: str) -> Hypothesis:
    """σ1 = 0."""
    largest = float(f"{np.max(c.sigma1_sq):.6g}")
    return Hypothesis(
        "bounded variance",
        largest == 0,
        f"{name} assumes bounded variance, but sigma1_sq is {largest}; use 4.2, which allows affine variance.",
    )
