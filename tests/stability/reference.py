"""Setups whose edges are known, and those edges."""

import math

import jax.numpy as jnp
import numpy as np
from scipy import integrate, optimize, stats

from stablestep.compressor import RandomSparsification
from stablestep.noise import Gaussian
from stablestep.problem import Function, Quadratic, Quartic
from stablestep.setup import Agents, Setup

# x²/2, messages 5 b (1 + Z) x with b = 1 in one of five cases: one coordinate, so that everything is a quadrature.
SPARSE = Setup(Quadratic([1.0]), Agents(1, Gaussian(0.0, 1.0), RandomSparsification(4.0)))
MEAN_SQUARE = 0.2  # 2/(1 + A), A = ω + (1 + ω) σ1² = 9
# Without noise: x_k² = x_0² times (1 − 5h)² for every b = 1, so h = .4 is the edge of everything but the mean.
MASKED = Setup(Quadratic([1.0]), Agents(1, None, RandomSparsification(4.0)))
DESCENT, QUARTIC = Setup(Quadratic([3.0]), Agents(1)), Setup(Quartic(1), Agents(1))
# exp(−x²/2) falls in every direction: no step is too large.
BUMP = Setup(Function(lambda x: jnp.exp(-jnp.sum(x**2) / 2), 1, minimum=0.0), Agents(1))
DENSE = np.array([[2.0, 0.6, -0.3], [0.6, 1.0, 0.4], [-0.3, 0.4, 0.7]])


def mean_log(h):
    """E log|1 − 5h(1 + Z)|, through the logarithm's singularity."""
    root = (1 - 5 * h) / (5 * h)

    def integrand(u):
        # Both sides of the root at the distance u² from it, where the logarithm's singularity is mild.
        return (
            2 * u * math.log(5 * h * u**2) * (stats.norm.pdf(root - u**2) + stats.norm.pdf(root + u**2)) if u else 0.0
        )

    return integrate.quad(integrand, 0, 4, epsabs=1e-10)[0]


def almost_sure():
    return optimize.brentq(mean_log, 0.3, 0.4, xtol=1e-10)


ALMOST_SURE = 0.3461725  # almost_sure(), as a test holds


def log_error(found):
    """The standard error of the logarithm of a `CriticalStep` whose interval is one of them."""
    return math.log(found.high / found.step)
