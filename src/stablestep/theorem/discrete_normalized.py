"""Normalized SGD in discrete time, with isotropic Gaussian noise or without: theory2 Theorem B."""

import math
from dataclasses import dataclass

import numpy as np

from stablestep.theorem.constants import Constants
from stablestep.theorem.discrete import Bounded, relative_free
from stablestep.theorem.result import Hypothesis


def slope(dim: int, deviation: float) -> float:
    """κ = Γ((d+1)/2)/(√2 σ Γ(d/2+1)): E M/‖M‖ ≈ κ∇f for small gradients, M = ∇f + σZ.

    >>> [round(slope(dim, 1.0), 10) for dim in (1, 10, 1000)]
    [0.7978845608, 0.308432776, 0.0316148719]
    """
    return math.exp(math.lgamma((dim + 1) / 2) - math.lgamma(dim / 2 + 1)) / (math.sqrt(2) * deviation)


@dataclass(frozen=True, kw_only=True)
class Normalized(Bounded):
    """x⁺ = x − hM/‖M‖: h L1 < u_1 = 1.2564312086, whatever L0, the noise and the gradient.

    Σ (h_k − L1ψ_k) E Ψ ≤ S0 + (L0 + L1/κ) Σ ψ_k, Ψ = κ‖g‖²/(1 + κ‖g‖) with κ of the mean message's noise, σ² = σ̄0²/N; without noise
    Ψ = ‖g‖ and 1/κ = 0, so that (1/K) Σ‖∇f(x_k)‖ ≤ [S0/(ηK) + L0 ψ(η)/η]/[1 − L1 ψ(η)/η]. Noise needs nu = inf in the constants (it is
    Gaussian), equal in all coordinates. The lower bound on E M is proved for d = 1 and d ≥ 3; for d = 2 it was checked on a grid.

    Clients may differ, since the server normalizes: the mean of their messages still points along ∇f.

    >>> from stablestep.theorem.constants import Constants
    >>> round(RESULT.step_limit(Constants(L0=1, L1=2, dim=10)), 10)
    0.6282156043
    """

    def radius(self, c):
        return 1.0

    def offset(self, c):
        deviation = math.sqrt(float(np.mean(c.sigma0_sq)) / c.agents)
        return 1 / slope(c.dim, deviation) if deviation > 0 else 0.0

    def clients(self, c):
        return Hypothesis("clients of their own data", True)

    def assumed(self, c):
        noisy = bool(np.any(c.sigma0_sq))
        return (
            relative_free(self.name, c),
            Hypothesis(
                "isotropic Gaussian noise",
                not noisy or (c.nu == math.inf and _isotropic(c)),
                f"{self.name} needs Gaussian noise of the same scale in every coordinate, or none, but nu is {c.nu} and the scales are "
                f"{c.scale_min} to {c.scale_max}; give nu=inf and scale_max = √sigma0_sq if the noise is that, or leave the noise out.",
            ),
        )


def _isotropic(c: Constants) -> bool:
    return np.allclose(c.scale_min, c.scale_max) and np.allclose(np.square(c.scale_max), c.sigma0_sq)


RESULT = Normalized(
    name="discrete.normalized",
    method="NSGD",
    normalized=True,
    reference="theory2 Thm B (NSGD), which continues P Thm 4.3",
)
