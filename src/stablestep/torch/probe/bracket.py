"""Where an edge is: a belief on a grid of log h, sharpened by runs that ended above or below it, and the next run's step."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import expit

SPACING, REACH = 0.02, 5.0
WIDTH = 0.11  # of the logistic by which runs near the edge go either way
ERRORS = 0.02  # runs that go the other way wherever they are
TAIL = 1.6  # standard deviations at 95 % that the second, wide part of a prior is given
FAR = 2.5  # standard deviation of its third part
AWAY = 0.25  # how far beyond the outermost run the next one goes at least, doubled each time


@dataclass(frozen=True)
class Guess:
    """What is known of log h of an edge before a run: a centre, a standard deviation, and how far off it is in 95 of 100 cases."""

    centre: float
    spread: float
    far: float


class Belief:
    """p(log edge | runs).

    >>> belief = Belief(Guess(0.0, 0.5, 1.0))
    >>> belief.add(0.0, above=False)
    >>> belief.add(0.4, above=True)
    >>> 0.1 < belief.median < 0.3 and round(belief.ratio, 2)
    1.49
    """

    def __init__(self, guess: Guess):
        self.grid: Float[np.ndarray, " n"] = np.arange(-REACH, REACH, SPACING) + guess.centre
        parts = ((0.83, guess.spread), (0.14, guess.far / TAIL), (0.03, FAR))
        self.weights = sum(
            (share * _normal(self.grid - guess.centre, spread) for share, spread in parts), np.zeros_like(self.grid)
        )
        self.weights /= self.weights.sum()
        self.ups: list[float] = []
        self.downs: list[float] = []

    def multiply(self, guess: Guess) -> None:
        """Something else that is known, independent of the rest."""
        other = 0.9 * _normal(self.grid - guess.centre, guess.spread) + 0.1 * _normal(self.grid - guess.centre, FAR)
        self._update(other)

    def add(self, log_step: float, above: bool, share: float = 1.0) -> None:
        """A run with this step: whether it was above the edge; `share` below 1 where that is not certain."""
        (self.ups if above else self.downs).append(log_step)
        likely = expit((1 if above else -1) * (log_step - self.grid) / WIDTH)
        self._update(ERRORS + (1 - 2 * ERRORS) * (share * likely + (1 - share) * 0.5))

    def _update(self, likelihood: Float[np.ndarray, " n"]) -> None:
        product = self.weights * likelihood
        if product.sum() > 0:
            self.weights = product / product.sum()

    @property
    def median(self) -> float:
        """log h."""
        return float(np.interp(0.5, np.cumsum(self.weights) - self.weights / 2, self.grid))

    @property
    def spread(self) -> float:
        """The standard deviation of log h."""
        mean = float(self.weights @ self.grid)
        return max(math.sqrt(float(self.weights @ (self.grid - mean) ** 2)), 0.02)

    @property
    def bracketed(self) -> bool:
        """Whether runs ended on both sides."""
        return bool(self.ups and self.downs)

    @property
    def ratio(self) -> float:
        """The smallest step above over the largest one below; infinite without both."""
        return math.exp(min(self.ups) - max(self.downs)) if self.bracketed else math.inf

    @property
    def next(self) -> float:
        """log h of the next run: the median, and clearly beyond all runs as long as they ended on one side."""
        if self.bracketed or not (self.ups or self.downs):
            return self.median
        away = AWAY * 2 ** (len(self.ups) + len(self.downs) - 1)
        return min(self.median, min(self.ups) - away) if self.ups else max(self.median, max(self.downs) + away)


def _normal(values: Float[np.ndarray, " n"], spread: float) -> Float[np.ndarray, " n"]:
    return np.exp(-0.5 * (values / spread) ** 2) / spread
