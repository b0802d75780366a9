"""DCSGD without gradient noise in discrete time: theory2 Theorem D, which continues P Theorem 4.2."""

import math
from dataclasses import dataclass

import numpy as np

from stablestep.errors import InvalidInput, at_least_zero
from stablestep.theorem.constants import Constants
from stablestep.theorem.discrete import Discrete, noise_free
from stablestep.theorem.remainder import chi, last_positive, u_of
from stablestep.theorem.result import Hypothesis, checked_epsilon


@dataclass(frozen=True, kw_only=True)
class Compressed(Discrete):
    """Bernoulli or Rand-k masks: ‖M‖ ≤ (1 + ω̄)‖∇f‖ for every draw, E‖M‖² ≤ (1 + A/N)‖∇f‖². If on each path

    h (1 + A/N)(L0 + L1‖∇f‖) χ(L1 h (1 + ω̄)‖∇f‖) ≤ 2ε, then Σ E h_k‖∇f(x_k)‖² ≤ S0/(1 − ε).

    With own masks the limit is the root of this equation. For one agent or a shared mask it is h = u_ε/((L0 + L1‖∇f‖)(1 + ω)), with
    (eᵘ − 1 − u)/u = ε: Eq. 16 over 2ε/u_ε = 1.3112 (ε = ½), 1.5918 (ε → 1). Where L1 = 0 nothing is left of χ, and it is Eq. 16 itself.
    The normalized form 1/(a + b‖∇f‖) has the same closed form with u at ε(1 + ω̄)/(1 + A/N). The bound is for steps that the path does not
    decide.

    >>> from stablestep.theorem.constants import Constants
    >>> round(5 * RESULT.step_limit(Constants(L0=1, L1=2, dim=3, omega=4.0), gradient_norm=0.0, epsilon=0.5), 10)
    0.7626885609
    """

    strict: bool = False

    def bracket(self, c, h, epsilon=None):
        return np.full_like(np.asarray(h, float), 1 - checked_epsilon(self.name, epsilon))

    def cost(self, c, h):
        return 0 * h

    def clients(self, c):
        return Hypothesis(
            "clients of their own data only where they share a mask",
            not c.unlike or c.shared_mask or not np.any(c.omega),
            f"{self.name} is about clients that share f or a mask, but dissimilarity is {c.dissimilarity}; use 4.2, which knows such "
            "clients, or a shared mask.",
        )

    def assumed(self, c):
        return (
            noise_free(self.name, c),
            Hypothesis(
                "masks",
                c.masks or not np.any(c.omega),
                f"{self.name} needs messages of bounded length, ‖C(g)‖ ≤ (1 + ω)‖g‖, which masks have, but masks is False; use RandK or "
                "RandomSparsification, or 4.2 for the SDE.",
            ),
            Hypothesis(
                "unbiased messages",
                not c.signs,
                f"{self.name} is about unbiased messages, but these constants describe signs (nu = {c.nu}); use discrete.sign.",
            ),
        )

    def step_limit(self, c, gradient_norm=None, epsilon=None, **options):
        self.check(c, **options)
        return self._limit(c, gradient_norm, checked_epsilon(self.name, epsilon))

    def edge(self, c, gradient_norm, **options):
        self.check(c, **options)
        return self._limit(c, gradient_norm, 1.0)

    def normalization(self, c, epsilon, **options):
        self.check(c, **options)
        (L0, L1), most = c.smoothness, 1 + float(np.mean(c.omega))
        share = checked_epsilon(self.name, epsilon) * most / (1 + c.A / c.agents)
        u = u_of(share) if L1 > 0 else 2 * share
        return L0 * most / u, L1 * most / u

    def _limit(self, c: Constants, gradient_norm: float | None, epsilon: float) -> float:
        if gradient_norm is None:
            raise InvalidInput(f"{self.name} depends on the gradient norm; give gradient_norm.")
        (L0, L1), norm = c.smoothness, at_least_zero("gradient_norm", gradient_norm)
        most, second = 1 + float(np.mean(c.omega)), 1 + c.A / c.agents
        curvature = (L0 + L1 * norm) * second
        if curvature == 0:
            return math.inf
        if L1 > 0 and math.isclose(second, most):
            return u_of(epsilon) / curvature
        return last_positive(
            lambda h: 2 * epsilon - h * curvature * float(chi(L1 * h * most * norm)), guess=epsilon / curvature
        )


RESULT = Compressed(
    name="discrete.dcsgd", method="DCSGD", reference="theory2 Thm D, the discrete form of P Thm 4.2"
)
