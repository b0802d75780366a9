"""Clipped gradient descent in discrete time: theory2 section 5."""

import math
from dataclasses import dataclass

import numpy as np

from stablestep.theorem.constants import Constants
from stablestep.theorem.discrete import Discrete, noise_free
from stablestep.theorem.remainder import chi, last_positive
from stablestep.theorem.result import Hypothesis, checked_epsilon


@dataclass(frozen=True, kw_only=True)
class Clipped(Discrete):
    """M = ∇f min(1, c/‖∇f‖): η χ(L1ηc)(L0 + L1c) ≤ 2ε gives (1 − ε) Σ η‖∇f(x_k)‖ min(‖∇f(x_k)‖, c) ≤ S0: the threshold normalizes.

    For L0 = L1 = 1 and ε → 1 the limit is 1.7157 (c = .1), .76269 (1), .22211 (5), where 1.997, 1.763 and .926 are the largest steps that
    are monotone on cosh; with L1 = 0 it is 2/L0, exact.

    >>> from stablestep.theorem.constants import Constants
    >>> round(RESULT.edge(Constants(L0=1, L1=1, dim=1, clip=1.0), None), 5)
    0.76269
    """

    strict: bool = False

    @property
    def unlike_remedy(self):
        return (
            "gradients of unlike clients that are clipped balance at another point than the minimum: no step repairs that, "
            "but a threshold that no client reaches at the minimum, or clipping by the server does"
        )

    def bracket(self, c, h, epsilon=None):
        return np.full_like(np.asarray(h, float), 1 - checked_epsilon(self.name, epsilon))

    def cost(self, c, h):
        return 0 * h

    def assumed(self, c):
        return (
            Hypothesis("a threshold", c.clip is not None, f"{self.name} needs a threshold; give clip in the constants."),
            noise_free(self.name, c),
            Hypothesis(
                "no compression",
                not np.any(c.omega),
                f"{self.name} is about uncompressed messages, but omega is {np.max(c.omega):g}; leave it out.",
            ),
        )

    def step_limit(self, c, gradient_norm=None, epsilon=None, **options):
        self.check(c, **options)
        return self._limit(c, checked_epsilon(self.name, epsilon))

    def edge(self, c, gradient_norm, **options):
        self.check(c, **options)
        return self._limit(c, 1.0)

    def measure(self, c, gradient_norm, **options):
        return gradient_norm * np.minimum(gradient_norm, c.clip)

    def gradient_norm_bound(self, c, value, **options):
        """Of ‖∇f‖ min(‖∇f‖, c), which is not convex; its convex hull from below, (‖∇f‖² up to c/2, then a line), is what Jensen allows."""
        return math.sqrt(value) if value <= c.clip**2 / 4 else value / c.clip + c.clip / 4

    def _limit(self, c: Constants, epsilon: float) -> float:
        L0, L1 = c.smoothness
        curvature = L0 + L1 * c.clip
        if curvature == 0:
            return math.inf
        return last_positive(
            lambda h: 2 * epsilon - h * curvature * float(chi(L1 * h * c.clip)), guess=epsilon / curvature
        )


RESULT = Clipped(name="discrete.clip", method="clipped descent", clips=True, reference="theory2 section 5 (clipped GD)")
