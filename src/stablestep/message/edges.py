"""Exact edges of a method with linear memory on a quadratic, and its stationary moments."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stablestep.errors import require
from stablestep.message.algebra import Diagonals
from stablestep.message.coordinates import Coordinates
from stablestep.message.recursion import Linear, Moments, recursion
from stablestep.message.resolvent import Pair, Resolvent
from stablestep.message.response import first_moment_radius, stationary_mean

TRIES = 60  # factors of 2
SURE = 4  # halvings that must all be stable before an edge is believed to be the first
EXACT = 4 * float(np.finfo(float).eps)
ASIDE = 1e-9  # of the edge of the first moments, where nothing can be inverted


@dataclass(frozen=True)
class Edges:
    """The largest steps at which E‖x_k‖² and E x_k stay bounded; inf or 0 where every step or none tried is."""

    mean_square: float
    first_moment: float


def require_bowl(linear: Linear) -> None:
    """Raise `InvalidInput` unless f is positive definite."""
    low, high = linear.eigenvalues[[0, -1]]
    require(
        low > 1e-13 * high,
        f"exact moments need a positive definite quadratic, but its smallest eigenvalue is {low:.4g}; leave flat directions out.",
    )


def edges(linear: Linear) -> Edges:
    """Where the spectral radii of the maps of first and second moments first reach 1.

    Raises:
        InvalidInput: if f is not positive definite.
    """
    require_bowl(linear)
    centred = linear.centred
    mean = _upward(lambda eta: first_moment_radius(recursion(centred, eta)) - 1, 2 / float(linear.eigenvalues[-1]))
    # E‖x‖² is at least ‖E x‖².
    return Edges(_downward(lambda eta: _resolvent(centred, eta), mean), mean)


def _resolvent(centred: Linear, eta: float) -> Resolvent:
    from stablestep.message.krylov import Krylov  # slow to load

    kind = Coordinates if centred.algebra is Diagonals else Krylov
    return kind(recursion(centred, eta))


def _upward(excess: Callable[[float], float], guess: float) -> float:
    """The first sign change of `excess` on a grid of factors of 2 that starts far below the guess, refined."""
    low = guess / 1024
    for _ in range(TRIES):
        high = 2 * low
        if excess(high) > 0:
            return _crossing(excess, low, high)
        low = high
    return np.inf


def _downward(at: Callable[[float], Resolvent], most: float) -> float:
    """The smallest step at which second moments are unstable, going down from `most` until they are stable for good."""
    if at(most * (1 - ASIDE)).stable:
        return most
    steps, flags = [most * (1 - ASIDE)], [False]
    while len(steps) <= TRIES and not all(flags[-SURE:]):
        steps.append(steps[-1] / 2)
        flags.append(at(steps[-1]).stable)
    if not flags[-1]:
        return 0.0
    last = max(place for place, stable in enumerate(flags) if not stable)
    return _refined(at, steps[last + 1], steps[last])


def _refined(at: Callable[[float], Resolvent], low: float, high: float) -> float:
    """Bisection until the excess has only changed its sign in between, then its root."""
    while high - low > 2 * EXACT * high:
        if high < 1.02 * low and at(high).excess > 0:
            return _crossing(lambda eta: at(eta).excess, low, high)
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).stable else (low, middle)
    return low


def _crossing(excess: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq  # slow to load

    found = brentq(excess, low, high, xtol=EXACT * low, rtol=EXACT)  # pyright: ignore[reportArgumentType]
    return float(found)  # pyright: ignore[reportArgumentType]


def stationary(linear: Linear, eta: float) -> Moments | None:
    """The moments that the recursion converges to, None if they grow.

    Raises:
        InvalidInput: if f is not positive definite.
    """
    require_bowl(linear)
    whole, resolvent = recursion(linear, eta), _resolvent(linear.centred, eta)
    if first_moment_radius(whole) >= 1 or not resolvent.stable:
        return None
    mean, zero = stationary_mean(whole), np.zeros_like(resolvent.inside.flat)
    nothing = resolvent.inside.like(zero)
    after = whole.step(Moments(mean, nothing.second, nothing.apart))
    found = resolvent.solve(Pair(after.second, after.apart))
    return Moments(mean, found.second, found.apart)
