"""What the results on signs share: hypotheses, and limit, bound and density from four numbers."""

import abc
import math
from dataclasses import dataclass

import numpy as np

from stablestep.errors import require
from stablestep.noise.student import Xi, slope, sup_density
from stablestep.theorem.constants import Constants
from stablestep.theorem.measure import huber, huber_inverse
from stablestep.theorem.result import MEAN_STEP, Hypothesis, Result, checked_gap, checked_time, mean_step
from stablestep.theorem.variant import Variant, variant

MEDIAN = (
    "the signs of unlike clients vote for a median, not for the mean, and can push to infinity: no step repairs that, but "
    "ErrorFeedback(ScaledSign()) does"
)


@dataclass(frozen=True)
class Terms:
    """d E f ≤ −(first η_t − second η_t²) E measure dt + floor η_t² dt, all multiplied by `gap`.

    Multiplying by the scale, instead of dividing by it, keeps σ = 0 finite.
    """

    first: float
    second: float
    floor: float
    gap: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Signs(Result):
    """A result on DSignSGD under Student-t noise (ν = ∞ is Gaussian noise).

    As printed, E‖∇f‖² is bounded, by an inequality (129, 136) that is reversed: 2yΞ_ν(y) ≤ ℓ_ν y². Corrected, with
    ℓy/(1+ℓy) ≤ 2Ξ_ν(y) for ν ≥ 1, it is E Ψ(∇f), Ψ = ℓ‖∇f‖²/(σ̄ + ℓ‖∇f‖), σ̄ the mean over agents of their largest scale. With
    `radius` it is E‖∇f‖² again, as long as |∂_j f| ≤ R σ_max,i.

    The limit is the same at every gradient: bound and density raise where the schedule's mean step is not below it (the printed forms:
    not below their own, printed one).
    """

    method: str = "DSignSGD"

    @abc.abstractmethod
    def terms(self, c: Constants, eta: float, chosen: Variant) -> Terms:
        """The four numbers of the inequality for this variant."""

    def limit_terms(self, c: Constants, chosen: Variant) -> Terms:
        """Those that the step limit follows from, per unit of η."""
        return self.terms(c, 1.0, chosen)

    def assumptions(self, c, **options):
        chosen = variant(options)
        phases = chosen.plain or (chosen.radius is not None and not chosen.printed)
        return (
            *known_noise(
                self.name,
                c,
                any_tail=chosen.printed or chosen.radius is not None,
                remedy="use the radius version, radius=R with |∂_j f| ≤ R σ_max on the path",
            ),
            Hypothesis(
                "no phases",
                phases,
                f"unit and young change the corrected radius version of {self.name} only; leave them out or give radius alone.",
            ),
        )

    def step_limit(self, c, gradient_norm=None, epsilon=None, **options):
        self.check(c, **options)
        return _ratio(self.limit_terms(c, variant(options)))

    def bound(self, c, eta, phi1, phi2, initial_gap=None, epsilon=None, **options):
        terms = self._terms(c, eta, phi1, phi2, options)
        gap = checked_gap(c, initial_gap)
        return (terms.gap * gap + terms.floor * phi2) / (terms.first * phi1 - terms.second * phi2)

    def density(self, c, eta, eta_t, phi1, phi2, **options):
        terms, eta_t = self._terms(c, eta, phi1, phi2, options), np.asarray(eta_t)
        return (terms.first * eta_t - terms.second * eta_t**2) / (terms.first * phi1 - terms.second * phi2)

    def _terms(self, c: Constants, eta: float, phi1: float, phi2: float, options: dict) -> Terms:
        self.check(c, **options)
        checked_time(eta, phi1, phi2)
        limit, mean = self.step_limit(c, **options), mean_step(eta, phi1, phi2)
        self.require_below(limit, mean, MEAN_STEP, strict=True)
        terms = self.terms(c, eta, variant(options))
        # As printed, the denominators of B.9 ask for something else than its step limit.
        require(
            terms.first * phi1 > terms.second * phi2,
            f"{self.name} bounds nothing here: φ²/φ¹ is {phi2 / phi1:.4g}, but must be below {_ratio(terms):.4g}; "
            "use a smaller eta or a decaying schedule.",
        )
        return terms

    @property
    def unlike_remedy(self):
        return MEDIAN

    def measure(self, c, gradient_norm, **options):
        return np.square(gradient_norm) if _squared(variant(options)) else huber(gradient_norm, offset(c))

    def gradient_norm_bound(self, c, value, **options):
        return math.sqrt(value) if _squared(variant(options)) else huber_inverse(value, offset(c))


def known_noise(name: str, c: Constants, any_tail: bool, remedy: str) -> tuple[Hypothesis, Hypothesis]:
    """Student-t noise of known scale, and ν ≥ 1 unless any tail will do."""
    return (
        Hypothesis(
            "Student-t noise of known scale",
            c.signs,
            f"{name} needs Student-t noise: give nu and scale_max in the constants (nu = inf for Gaussian noise).",
        ),
        Hypothesis(
            "ν ≥ 1",
            any_tail or not c.signs or c.tail >= 1,
            f"{name} (corrected) needs nu ≥ 1, but nu is {c.nu}; {remedy}.",
        ),
    )


def _ratio(terms: Terms) -> float:
    return terms.first / terms.second if terms.second > 0 else math.inf


def _squared(chosen: Variant) -> bool:
    return chosen.printed or chosen.radius is not None


def offset(c: Constants) -> float:
    """b = σ̄/ℓ: g·E M ≥ Ψ(g) ≥ ‖g‖ − b."""
    return mean_scale(c) / slope(c.tail)


def mean_scale(c: Constants) -> float:
    """σ̄, the arithmetic mean of the agents' largest scales."""
    return float(np.mean(c.scale_max))


def harmonic(scales: np.ndarray) -> float:
    """The harmonic mean σ_H; 0 if one of the scales is."""
    return 0.0 if np.any(scales == 0) else float(1 / np.mean(1 / scales))


def slope_of(c: Constants, chosen: Variant) -> float:
    """ℓ_ν, or ℓ_ν(R) = 2Ξ_ν(R)/R."""
    return slope(c.tail) if chosen.radius is None else float(2 * Xi(chosen.radius, c.tail) / chosen.radius)


def corrected(c: Constants, eta: float, chosen: Variant, share: float) -> Terms:
    """−Ψ for the first-order term and ‖H‖ d `share`/2 for the second: `share` is 1/N for the first-order SDE, 1 for the new one."""
    half = eta * c.dim * share / 2
    if chosen.radius is None:
        return Terms(1.0, half * c.L1, half * (c.L0 + c.L1 * offset(c)))
    scale, (constant, growth) = harmonic(c.scale_max), chosen.split(c)
    return Terms(slope_of(c, chosen), scale * half * growth, scale * half * constant, scale)


def correction(c: Constants, chosen: Variant) -> float:
    """√d M_ν times the scales that P's correction term of Eq. 134 brings: in its proof 1, and in truth σ_H/(2σ_H,min)."""
    printed = math.sqrt(c.dim) * sup_density(c.tail)
    if chosen.radius is None:
        return printed
    low, high = harmonic(c.scale_min), harmonic(c.scale_max)
    require(low > 0, "scale_min is 0 for an agent, but the radius version of the printed result needs positive scales.")
    return printed * high / (2 * low)
