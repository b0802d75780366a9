"""What bounded messages descend on: Ψ(g) = ‖g‖²/(b + ‖g‖), quadratic for gradients far below b, and ‖g‖ − b far above."""

import math

import numpy as np


def huber(gradient_norm, offset: float):
    """Ψ = ‖g‖²/(b + ‖g‖), b = `offset`; ‖g‖ where b = 0.

    >>> float(huber(2.0, 2.0)), float(huber(0.0, 0.0))
    (1.0, 0.0)
    """
    norm = np.asarray(gradient_norm, float)
    return np.where(norm > 0, norm**2 / np.where(norm > 0, offset + norm, 1), 0.0)


def huber_inverse(value: float, offset: float) -> float:
    """The ‖g‖ with Ψ = `value`; as Ψ is convex, a bound on E Ψ is one on E‖g‖.

    >>> huber_inverse(1.0, 2.0)
    2.0
    """
    return (value + math.sqrt(value**2 + 4 * value * offset)) / 2
