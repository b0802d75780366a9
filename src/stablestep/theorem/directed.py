"""What normalized methods with a memory share: Theorem N of theory2 section 5."""

import abc
from dataclasses import dataclass

import numpy as np

from stablestep.theorem.constants import Constants
from stablestep.theorem.discrete import Discrete, checked_error
from stablestep.theorem.remainder import psi, stretch
from stablestep.theorem.result import Hypothesis


@dataclass(frozen=True, kw_only=True)
class Directed(Discrete):
    """x⁺ = x − ηD/‖D‖ with an error δ_k = ‖D_k − ∇f(x_k)‖ of the direction that shrinks by s in each step. A constant η; u = L1 η.

    (1/K) Σ E‖∇f(x_k)‖ [1 − L1ψ/η − (2s/(1−s))(eᵘ − 1)] ≤ S0/(ηK) + L0ψ/η + (2s/(1−s))(L0/L1)(eᵘ − 1) + 2δ0/((1−s)K): proved from
    ∇f·D/‖D‖ ≥ ‖∇f‖ − 2δ and δ⁺ ≤ s(δ + ‖∇f(x⁺) − ∇f(x)‖).
    """

    any_schedule: bool = False
    normalized: bool = True
    start: str = "δ0 = ‖D_0 − ∇f(x0)‖"

    @abc.abstractmethod
    def shrinks(self, c: Constants) -> float:
        """s."""

    def clients(self, c):
        return Hypothesis("clients of their own data", True)

    def turned(self, c: Constants, h):
        """(a, b) with 2s/(1−s) times the mean of ‖∇f_i(x⁺) − ∇f_i(x)‖ ≤ a + b‖∇f(x)‖."""
        (L0, L1), s = c.smoothness, self.shrinks(c)
        moved = 2 * s / (1 - s) * stretch(h, L1)
        return L0 * moved, L1 * moved

    def bracket(self, c, h, epsilon=None):
        _, L1 = c.smoothness
        return 1 - L1 * psi(h, L1) / h - self.turned(c, h)[1]

    def cost(self, c, h):
        return c.smoothness[0] * psi(h, c.smoothness[1]) + h * self.turned(c, h)[0]

    def started(self, c, h, initial_error):
        error, s = checked_error(self.name, initial_error, self.start), self.shrinks(c)
        return 2 * h * error / (1 - s)

    def measure(self, c, gradient_norm, **options):
        return np.asarray(gradient_norm, float)

    def gradient_norm_bound(self, c, value, **options):
        return value
