"""How far f can lie above its tangent after a step of length ρ under (L0, L1): the functions of theory2 section 5, and roots of them.

‖x⁺ − x‖ = ρ gives f(x⁺) ≤ f + ∇f·(x⁺ − x) + (L0 + L1‖∇f‖) ψ(ρ) and ‖∇f(x⁺) − ∇f‖ ≤ (L0 + L1‖∇f‖) (e^{L1 ρ} − 1)/L1.
"""

import math
from collections.abc import Callable

import numpy as np

_TERMS = [2 / math.factorial(order + 2) for order in range(18)]  # of χ, to rounding for u ≤ 1


def chi(u):
    """χ(u) = 2(eᵘ − 1 − u)/u², 1 at u = 0.

    >>> float(chi(0.0)), round(float(chi(1.0)), 12)
    (1.0, 1.436563656918)
    """
    u = np.asarray(u, float)
    far = np.maximum(u, 1.0)
    with np.errstate(over="ignore"):
        return np.where(
            u < 1, np.polynomial.polynomial.polyval(np.minimum(u, 1.0), _TERMS), 2 * (np.expm1(far) - far) / far**2
        )


def psi(length, L1: float):
    """ψ(ρ) = (e^{L1 ρ} − 1 − L1 ρ)/L1², ρ²/2 where L1 = 0.

    >>> float(psi(2.0, 0.0)), round(float(psi(2.0, 1.0)), 12)
    (2.0, 4.389056098931)
    """
    length = np.asarray(length, float)
    return length**2 * chi(L1 * length) / 2


def stretch(length, L1: float):
    """(e^{L1 ρ} − 1)/L1, ρ where L1 = 0.

    >>> float(stretch(2.0, 0.0)), round(float(stretch(2.0, 1.0)), 12)
    (2.0, 6.389056098931)
    """
    length = np.asarray(length, float)
    u = L1 * length
    with np.errstate(over="ignore"):
        return length * np.where(u > 0, np.expm1(u) / np.where(u > 0, u, 1), 1.0)


def u_of(epsilon: float) -> float:
    """u_ε > 0 with (eᵘ − 1 − u)/u = ε: the length L1 ρ at which the remainder has taken the share ε of the descent.

    >>> round(u_of(1.0), 10), round(u_of(0.5), 10)
    (1.2564312086, 0.7626885609)
    """
    return _root(lambda u: u * float(chi(u)) / 2 - epsilon, 0.0, 2 * epsilon)


def last_positive(function: Callable[[float], float], guess: float = 1.0) -> float:
    """Where a continuous function that is positive at 0 and falls crosses 0; ∞ where it never does.

    >>> round(last_positive(lambda h: 1 - 3 * h), 12), last_positive(lambda h: 1.0)
    (0.333333333333, inf)
    """
    low = high = guess
    for _ in range(2000):
        if function(low) > 0:
            break
        low /= 2
    else:
        return 0.0
    for _ in range(200):
        if not function(high) > 0:
            return _root(lambda h: max(function(h), -1.0), low, high)
        low, high = high, 2 * high
    return math.inf


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """To the last digits."""
    from scipy.optimize import brentq  # slow to load

    return float(brentq(function, low, high, xtol=1e-300, rtol=1e-15))  # pyright: ignore[reportArgumentType]
