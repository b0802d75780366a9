"""Where something that grows with the step crosses 0, in log h: a bracket, the root in it, and the error of that root."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

# Brackets begin here beside their guess: a guess is often a round number, such as 1, and on round numbers sits what happens nowhere else
# (error feedback of a Top-k on ‖x‖²/2 ends in finitely many steps at h = 1 exactly, far beyond its edge).
ASIDE = 0.0873
STRETCH = math.log(2)  # of one try to the next
FAR = 24  # tries
FARTHEST = 690.0  # of log h: what float64 holds
SHIFT = 0.02  # of log h, for a slope


@dataclass(frozen=True)
class Root:
    """A root in log h, its standard error, and the slope of the mean there."""

    log: float
    error: float
    slope: float

    @property
    def step(self) -> float:
        """h."""
        return math.exp(self.log)


def bracket(over: Callable[[float], bool], guess: float, far: int = FAR) -> tuple[float, float]:
    """Neighbours (low, high) = (h, 2h) in log h, of which `over` says no and yes; −∞ or ∞ stands where `far` tries find no such end.

    >>> low, high = bracket(lambda log_step: log_step > 1.0, guess=0.0)
    >>> low <= 1.0 < high, round(high - low, 3)
    (True, 0.693)
    >>> bracket(lambda log_step: False, guess=0.0)[1]
    inf
    """
    last = guess + ASIDE
    upward = not over(last)
    for _ in range(far):
        tried = last + STRETCH if upward else last - STRETCH
        if over(tried) == upward:
            return (last, tried) if upward else (tried, last)
        last = tried
    return (last, math.inf) if upward else (-math.inf, last)


def last_bracket(over: Callable[[float], bool], logs: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Those neighbours in a whole range, above which `over` says yes throughout: where it changes more than once.

    >>> last_bracket(lambda log_step: log_step < -1 or log_step > 1, np.linspace(-2.5, 2.5, 6))
    (0.5, 1.5)
    """
    below = np.flatnonzero([not over(float(log_step)) for log_step in logs])
    if not len(below):
        return -math.inf, float(logs[0])
    last = int(below[-1])
    return float(logs[last]), float(logs[last + 1]) if last + 1 < len(logs) else math.inf


def bisect(over: Callable[[float], bool], low: float, high: float, tolerance: float) -> tuple[float, float]:
    """Neighbours in log h at most `tolerance` apart, of which `over` says no and yes, as it does of the ends given.

    >>> low, high = bisect(lambda log_step: log_step > 0.3, 0.0, 1.0, tolerance=0.01)
    >>> low <= 0.3 < high, high - low < 0.01
    (True, True)
    """
    # A tolerance below the spacing of numbers is met by neighbours.
    while high - low > max(tolerance, 1e-12):
        middle = (low + high) / 2
        low, high = (low, middle) if over(middle) else (middle, high)
    return low, high


def crossing(function: Callable[[float], float], low: float, high: float, tolerance: float) -> float:
    """Where a function, which may be infinite, changes its sign: by inverse quadratic interpolation where that is safe, else by halves.

    Source: T. Chandrupatla, A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear function (1997). SciPy has
    others, and takes longer to load than all that is done here.

    >>> round(crossing(lambda x: x**3 - 2, 0.0, 2.0, 1e-12), 9)
    1.25992105
    """
    last, other, share = low, high, 0.5
    at_last, at_other = function(low), function(high)
    while True:
        tried = last + share * (other - last)
        value = function(tried)
        if (value > 0) == (at_last > 0):
            third, at_third = last, at_last
        else:
            third, at_third, other, at_other = other, at_other, last, at_last
        last, at_last = tried, value
        left, enough = abs(other - last), max(tolerance, 1e-12)  # as in `bisect`
        if value == 0 or left <= 2 * enough:
            return last if abs(at_last) < abs(at_other) else other
        share = _share((last, other, third), (at_last, at_other, at_third))
        share = min(max(share, enough / left), 1 - enough / left)


def _share(points: tuple[float, float, float], values: tuple[float, float, float]) -> float:
    """How far on the way from the first point to the second, of another sign, to look next; the third is beyond the first."""
    (a, b, c), (at_a, at_b, at_c) = points, values
    place, height = (a - b) / (c - b), (at_a - at_b) / (at_c - at_b)
    if not (height * height < place and (1 - height) * (1 - height) < 1 - place):  # as of what is no number
        return 0.5
    first = at_a / (at_b - at_a) * at_c / (at_b - at_c)
    return first + (c - a) / (b - a) * at_a / (at_c - at_a) * at_b / (at_c - at_b)


def root(samples: Callable[[float], np.ndarray], low: float, high: float, tolerance: float) -> Root:
    """Where the mean of `samples(log h)`, independent draws that vary smoothly with h, crosses 0 between low and high.

    The standard error of the logarithm is that of the mean there, over the mean's slope.

    >>> found = root(lambda log_step: log_step - np.array([0.9, 1.0, 1.1]), 0.0, 2.0, 1e-9)
    >>> round(found.log, 6), round(found.error, 6), round(found.slope, 6)
    (1.0, 0.04714, 1.0)
    """

    def mean(log_step: float) -> float:
        return mean_of(samples(log_step))

    log = crossing(mean, low, high, tolerance)
    values = samples(log)
    slope = (mean(log + SHIFT) - mean(log - SHIFT)) / (2 * SHIFT)
    error = float(np.std(values)) / math.sqrt(len(values))
    if error == 0:
        return Root(log, 0.0, slope)
    return Root(log, error / slope if slope > 0 else math.inf, slope)


def mean_of(values: np.ndarray) -> float:
    """The mean, where what is no number counts as ∞: it grew beyond all of them."""
    mean = float(np.mean(values))
    return math.inf if math.isnan(mean) else mean
