"""Error feedback of random masks on ‖x‖²/2."""

import numpy as np

from stablestep import compressor, message, noise, problem, stability
from stablestep.setup import Agents, Setup


def mask(p: float, scaled: bool = False) -> compressor.Compressor:
    """Each coordinate with probability p."""
    return compressor.RandomSparsification(omega=1 / p - 1, scaled=scaled)


def ef(p: float) -> compressor.Compressor:
    return compressor.ErrorFeedback(mask(p))


def ef21(p: float, mu: float = 1.0) -> compressor.Compressor:
    """EF21-SGD, or with μ < 1 EF21-SGDM."""
    plain = compressor.EF21(mask(p))
    return plain if mu == 1 else compressor.Momentum(plain, beta=1 - mu)


def setup(chosen: compressor.Compressor, count: int = 1, sigma0: float = 0.0, dim: int = 1) -> Setup:
    return Setup(problem.Quadratic(np.ones(dim)), Agents(count, noise.Gaussian(sigma0=sigma0), chosen))


def edge(chosen: compressor.Compressor, count: int) -> float:
    """The mean-square edge by exact moments."""
    return stability.critical_step(setup(chosen, count), x0=1.0, method="moments").step


def level(chosen: compressor.Compressor, count: int, eta: float) -> float:
    """E x²/2 at rest by exact moments, over ησ²/(4N): the noise that is left, in units of that of SGD as η → 0."""
    found = message.moments(setup(chosen, count, sigma0=1.0), eta, 0.0, 1)
    return found.attrs["stationary_loss"] * 4 * count / eta


def ef_edge(p: float, count: int) -> float:
    """2Np(2−p)/(Np² + 4(1−p)), of EF and of EF21.

    >>> round(ef_edge(0.1, 10), 10), round(ef_edge(0.1, 11), 10)
    (1.027027027, 1.1266846361)
    """
    return 2 * count * p * (2 - p) / (count * p**2 + 4 * (1 - p))


def dcsgd_edge(p: float, count: int) -> float:
    """2Np/(Np + 1 − p).

    >>> round(dcsgd_edge(0.1, 10), 10)
    1.0526315789
    """
    return 2 * count * p / (count * p + 1 - p)
