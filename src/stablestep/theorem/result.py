"""What every result offers, and the form that all results on unbiased messages share."""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stablestep.errors import InvalidInput, at_least_zero, positive, require, within
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
    """A published theorem: while the step ηη_t stays below its limit on each path, E measure(∇f(X_t̂)) ≤ its bound.

    The random time t̂ has the density `density`.

    Attributes:
        name: its number in the newer paper; aliases: other numbers, "S2 …" in the earlier one.
        reference: where it stands, with its equations.
        method: the optimizer that it is about.
        sde: the model it is proved for, "first" or "new".
    """

    name: str
    aliases: tuple[str, ...]
    reference: str
    method: str
    sde: str

    @abc.abstractmethod
    def assumptions(self, c: Constants, **options) -> tuple[Hypothesis, ...]:
        """What it assumes of the constants, beside what it knows of memory; `options` are those of `theorem.Variant`."""

    @abc.abstractmethod
    def step_limit(self, c: Constants, gradient_norm: float | None, epsilon: float | None, **options) -> float:
        """The largest ηη_t; ∞ where the result asks for nothing.

        Args:
            c: the constants.
            gradient_norm: ‖∇f(X_t)‖ of the path itself; None for results that do not depend on it.
            epsilon: ε in (0, 1), of the results that have one.

        Raises:
            InvalidInput: outside the hypotheses.
        """

    @abc.abstractmethod
    def bound(self, c: Constants, eta: float, phi1: float, phi2: float, **options) -> float:
        """The right-hand side, in units of `measure`.

        Args:
            c: the constants, with the initial gap unless that is given.
            eta: η.
            phi1: ∫₀ᵗ η_s ds, a time.
            phi2: ∫₀ᵗ η_s² ds, a time.

        Raises:
            InvalidInput: outside the hypotheses, or where these numbers prove that a step exceeds the limit.
        """

    @abc.abstractmethod
    def density(self, c: Constants, eta: float, eta_t, phi1: float, phi2: float, **options):
        """The density of the random time t̂ at times where the schedule is `eta_t`, in the shape of that.

        Args:
            eta_t: η_t, a number or an array of them.

        Raises:
            InvalidInput: as `bound`.
        """

    def memory(self, c: Constants) -> Hypothesis:
        """That nothing remembers: a result that knows a memory says so here, and every other one raises."""
        return Hypothesis(
            "no memory",
            c.memory is None,
            f"{self.name} is about messages of the present point alone, but {c.memory} remembers; leave the memory out, or find the "
            'step by simulation, critical_step(…, method="rollouts").',
        )

    def hypotheses(self, c: Constants, **options) -> tuple[Hypothesis, ...]:
        """The assumptions on the constants, checked one by one."""
        return (self.memory(c), *self.assumptions(c, **options))

    def applies(self, c: Constants, **options) -> bool:
        """Whether all hypotheses hold."""
        return all(hypothesis.holds for hypothesis in self.hypotheses(c, **options))

    def check(self, c: Constants, **options) -> None:
        """Raise `InvalidInput` with the first hypothesis that fails."""
        for hypothesis in self.hypotheses(c, **options):
            require(hypothesis.holds, hypothesis.failure)

    def edge(self, c: Constants, gradient_norm: float | None, **options) -> float:
        """The step limit as ε → 1, beyond which the result allows no step at all."""
        return self.step_limit(c, gradient_norm, None, **options)

    def normalization(self, c: Constants, epsilon: float | None, **options) -> tuple[float, float]:
        """(a, b) of the limit as a normalized step, 1/(a + b‖∇f‖); b = 0 for signs."""
        offset, at_one = (1 / self.step_limit(c, norm, epsilon, **options) for norm in (0.0, 1.0))
        return offset, at_one - offset

    def measure(self, c: Constants, gradient_norm, **options):
        """What is bounded in expectation: ‖∇f‖² unless the result says otherwise."""
        return np.square(gradient_norm)

    def gradient_norm_bound(self, c: Constants, value: float, **options) -> float:
        """What a bound of `value` says about E‖∇f(X_t̂)‖."""
        return math.sqrt(value)

    def require_below(self, limit: float, step: float, what: str, strict: bool = False) -> None:
        """Raise where a step of this schedule is proved to lie beyond `limit`, which no path's own limit exceeds."""
        # Rounding of φ² and φ¹ is no violation.
        below = step < limit if strict else step <= limit * (1 + 1e-9)
        require(
            below,
            f"{self.name} says nothing here: it allows steps {'below' if strict else 'up to'} {limit:.4g}, but {what} is {step:.4g}; "
            "use a smaller eta or a schedule that decays faster.",
        )


def mean_step(eta: float, phi1: float, phi2: float) -> float:
    """∫ηη_s · η_s ds/∫η_s ds: a mean of the schedule's steps, so that one of them is at least as large."""
    return eta * phi2 / phi1


MEAN_STEP = "the schedule's mean step, ηφ²/φ¹,"


def checked_time(eta: float, phi1: float, phi2: float) -> None:
    """Raise unless η, φ¹ and φ² can be those of a schedule."""
    positive("eta", eta)
    positive("phi1", phi1)
    at_least_zero("phi2", phi2)


def checked_gap(c: Constants, initial_gap: float | None) -> float:
    """S0 as given, or that of the constants."""
    gap = c.initial_gap if initial_gap is None else initial_gap
    if gap is None:
        raise InvalidInput("initial_gap is missing; give f(x0) − f*, here or in the constants.")
    return at_least_zero("initial_gap", gap)


def checked_epsilon(name: str, epsilon: float | None) -> float:
    """ε in (0, 1), which has no default."""
    if epsilon is None:
        raise InvalidInput(f"{name} needs an epsilon between 0 and 1, such as 0.5.")
    return within("epsilon", epsilon, 0, 1, hint=", such as 0.5")


def _no_extra(c: Constants, name: str) -> Hypothesis:
    return Hypothesis("every unbiased compressor and every affine variance", True)


@dataclass(frozen=True, kw_only=True)
class Unbiased(Result):
    """If ηη_t ≤ 2ε / ((L0 + L1‖∇f(X_t)‖) R + L1 F) on each path, then

    E‖∇f(X_t̂)‖² ≤ (S0 + φ² η (L0 + L1) F / 2) / ((1 − ε) φ¹), where t̂ has density η_t/φ¹.

    R is A/N, the growth of the messages' covariance with ‖∇f‖², and on the new SDE 1 + A/N, that of their second moment; F is B/N, what
    is left at a stationary point (`Constants.A`, `Constants.B`). The printed rules have E‖∇f(X_t)‖ in place of the path's own norm:
    same formula, unsound (see `schedule.StepLimit`). `printed_floor` is the coefficient of φ²η/2 in a bound that is printed differently.

    The limit falls with ‖∇f‖, so that at ‖∇f‖ = 0 it is one that no path's limit exceeds (with L1 = 0 it is every path's own): `bound`
    raises where the schedule's mean step lies beyond it, `density` where it lies beyond that for every ε. The printed forms have the
    same step limit.
    """

    extra: Callable[[Constants, str], Hypothesis] = _no_extra
    printed_floor: Callable[[Constants, float], float] | None = None

    def relative(self, c: Constants) -> float:
        """R."""
        return (self.sde == "new") + c.A / c.agents

    def floor(self, c: Constants) -> float:
        """F."""
        return c.B / c.agents

    def assumptions(self, c, **options):
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
            Hypothesis(
                "the printed form has the papers' phases",
                chosen.plain or not chosen.printed,
                f'unit and young change the corrected form of {self.name}, but form is "printed"; leave out one or the other.',
            ),
            self.extra(c, self.name),
        )

    def step_limit(self, c, gradient_norm=None, epsilon=None, **options):
        epsilon, chosen = self._checked(c, epsilon, options)
        if gradient_norm is None:
            raise InvalidInput(f"{self.name} depends on the gradient norm; give gradient_norm.")
        norm = at_least_zero("gradient_norm", gradient_norm)
        _, growth = chosen.split(c)
        denominator = (c.L0 + c.L1 * norm) * self.relative(c) + growth * self.floor(c)
        return 2 * epsilon / denominator if denominator > 0 else math.inf

    def edge(self, c, gradient_norm, **options):
        return 2 * self.step_limit(c, gradient_norm, 0.5, **options)

    def bound(self, c, eta, phi1, phi2, initial_gap=None, epsilon=None, **options):
        epsilon, chosen = self._checked(c, epsilon, options)
        checked_time(eta, phi1, phi2)
        gap = checked_gap(c, initial_gap)
        self.require_below(self.step_limit(c, 0.0, epsilon, **options), mean_step(eta, phi1, phi2), MEAN_STEP)
        return (gap + phi2 * self._noise(c, eta, chosen) / 2) / ((1 - epsilon) * phi1)

    def _noise(self, c: Constants, eta: float, chosen: Variant) -> float:
        if chosen.printed and self.printed_floor is not None:
            return self.printed_floor(c, eta)
        constant, _ = chosen.split(c)
        return eta * constant * self.floor(c)

    def density(self, c, eta, eta_t, phi1, phi2, **options):
        self.check(c, **options)
        checked_time(eta, phi1, phi2)
        limit, rates = self.edge(c, 0.0, **options), np.asarray(eta_t)
        self.require_below(limit, mean_step(eta, phi1, phi2), MEAN_STEP)
        self.require_below(limit, eta * float(np.max(rates, initial=0.0)), "the largest step, ηη_t,")
        return rates / phi1

    def _checked(self, c: Constants, epsilon: float | None, options: dict) -> tuple[float, Variant]:
        known = checked_epsilon(self.name, epsilon)
        self.check(c, **options)
        return known, variant(options)


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
