"""The form that all results on unbiased messages share."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stablestep.errors import InvalidInput, at_least_zero
from stablestep.theorem.constants import Constants
from stablestep.theorem.result import (
    MEAN_STEP,
    Hypothesis,
    Result,
    checked_epsilon,
    checked_gap,
    checked_time,
    mean_step,
)
from stablestep.theorem.variant import Variant, variant


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
    same step limit. With `unlike` it holds for clients of their own data too (theory2 section 6): the proof needs no more than
    tr(HC) ≤ ‖H‖ tr C, and A, B and the smoothness of f follow the dissimilarity (`Constants.A`, `Constants.smoothness`).
    """

    extra: Callable[[Constants, str], Hypothesis] = _no_extra
    printed_floor: Callable[[Constants, float], float] | None = None
    unlike: bool = False

    def relative(self, c: Constants) -> float:
        """R."""
        return (self.sde == "new") + c.A / c.agents

    def floor(self, c: Constants) -> float:
        """F."""
        return c.B / c.agents

    def clients(self, c):
        return Hypothesis("clients of their own data", True) if self.unlike else super().clients(c)

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
            Hypothesis(
                "the printed form is about clients that share f",
                not (chosen.printed and c.unlike),
                f'{self.name} as printed is about clients that share f, but dissimilarity is {c.dissimilarity}; use form="corrected".',
            ),
            self.extra(c, self.name),
        )

    def step_limit(self, c, gradient_norm=None, epsilon=None, **options):
        epsilon, chosen = self._checked(c, epsilon, options)
        if gradient_norm is None:
            raise InvalidInput(f"{self.name} depends on the gradient norm; give gradient_norm.")
        norm = at_least_zero("gradient_norm", gradient_norm)
        (L0, L1), (_, growth) = c.smoothness, chosen.split(c)
        denominator = (L0 + L1 * norm) * self.relative(c) + growth * self.floor(c)
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
