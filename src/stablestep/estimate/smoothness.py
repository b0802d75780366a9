"""(L0, L1): the line above all measured curvatures, as a function of the gradient norm."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from stablestep.errors import at_least_zero, require
from stablestep.estimate.value import Estimate, bootstrap, pairs, unit


@dataclass(frozen=True)
class Smoothness:
    """L0 and L1 of the tightest line, and the gradient norm where it is tightest."""

    L0: Estimate
    L1: Estimate
    at: float

    def __call__(self, gradient_norm):
        """L0 + L1‖∇f‖."""
        return self.L0.value + self.L1.value * np.asarray(gradient_norm)


def smoothness(gradient_norm, curvature, at: float | None = None) -> Smoothness:
    """L0, L1 ≥ 0 with curvature ≤ L0 + L1 · gradient_norm at every point, of which L0 + L1 · at is smallest (P Def. 3.1).

    The intervals come from resampling the points: they say how much the line hangs on few of them (`Estimate.covers` is "redrawn points"),
    and have no width where it is the same for all. They hold no truth in 90 % of cases: the line is an envelope of what was seen, no bound
    for what was not; noise in the measured curvatures only raises it. Fewer than six points give no interval.

    Args:
        gradient_norm: ‖∇f‖ [p ≥ 3] at points of a run.
        curvature: ‖∇²f‖ [p] there, or the curvature along the step.
        at: by default the mean of the gradient norms.

    Raises:
        InvalidInput: for fewer than three points, different lengths, negative norms, or values that are not finite.

    >>> found = smoothness([0.0, 1.0, 2.0, 3.0], [1.0, 3.0, 4.0, 7.0])
    >>> round(found.L0.value, 9), round(found.L1.value, 9)
    (1.0, 2.0)
    """
    norms, bent = pairs(gradient_norm=gradient_norm, curvature=curvature)
    require(bool(np.all(norms >= 0)), f"gradient_norm has {norms.min()}, but norms are at least 0.")
    centre = float(np.mean(norms / len(norms)) * len(norms)) if at is None else at_least_zero("at", at)
    # In units of the largest, so that no product of them overflows.
    long, steep = unit(norms), unit(bent)
    norms, bent = norms / long, bent / steep

    def fit(chosen: np.ndarray) -> tuple[float, float]:
        middle = float(norms[chosen].mean()) if at is None else centre / long
        constant, growth = _envelope(norms[chosen], bent[chosen], middle)
        return constant * steep, growth * (steep / long)

    constant, growth = bootstrap(fit, len(norms), fit(np.arange(len(norms))))
    return Smoothness(constant, growth, centre)


def _envelope(norms: Float[np.ndarray, " p"], bent: Float[np.ndarray, " p"], at: float) -> tuple[float, float]:
    """The L1 ≥ 0 that minimises max_i(c_i − L1 g_i)₊ + L1 · at, convex and piecewise linear in L1, and that maximum."""
    hull = _hull(norms, bent)
    edges = [(d - c) / (h - g) for (g, c), (h, d) in pairwise(hull)]
    slopes = np.array([0.0, *(slope for slope in edges + [c / g for g, c in hull if g > 0] if slope > 0)])
    corners = np.array(hull)
    offsets = np.maximum(0.0, np.max(corners[:, 1] - slopes[:, None] * corners[:, 0], axis=1))
    best = int(np.argmin(offsets + slopes * at))
    return float(offsets[best]), float(slopes[best])


def _hull(norms: np.ndarray, bent: np.ndarray) -> list[tuple[float, float]]:
    """The corners of the upper convex hull, from left to right: the minimum of a line above all points lies at an edge or a corner."""
    hull: list[tuple[float, float]] = []
    for norm, value in sorted(zip(norms.tolist(), bent.tolist())):
        if hull and hull[-1][0] == norm:
            hull.pop()
        while len(hull) > 1 and _below(hull[-2], hull[-1], (norm, value)):
            hull.pop()
        hull.append((norm, value))
    return hull


def _below(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether the middle point lies on or below the line through the others."""
    return (middle[1] - left[1]) * (right[0] - left[0]) <= (right[1] - left[1]) * (middle[0] - left[0])
