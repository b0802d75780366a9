"""A number with its uncertainty."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from stablestep.errors import require

RESAMPLED = 400
_SIDES = (0.05, 0.95)
NORMAL = 1.6449  # their distance in standard errors


@dataclass(frozen=True)
class Estimate:
    """A value and the interval (low, high) that should hold the truth in 90 % of cases.

    >>> str(Estimate(1.0, 0.5, 2.0))
    '1 (0.5 to 2)'
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"

    def to_dict(self) -> dict[str, float | None]:
        """As JSON, where what is not finite is null."""
        return {name: value if math.isfinite(value) else None for name, value in vars(self).items()}


def of_mean(samples) -> Estimate:
    """The mean of independent samples [n ≥ 2], with a normal interval.

    Raises:
        InvalidInput: if there are fewer than two, or one is not finite.

    >>> of_mean([1.0, 1.0, 1.0])
    Estimate(value=1.0, low=1.0, high=1.0)
    """
    samples = finite("samples", samples, at_least=2)
    error = NORMAL * float(samples.std(ddof=1)) / math.sqrt(len(samples))
    mean = float(samples.mean())
    return Estimate(mean, mean - error, mean + error)


def finite(name: str, values, at_least: int) -> Float[np.ndarray, " n"]:
    """Values as a vector.

    Raises:
        InvalidInput: if it is none, too short, or holds what is not finite.
    """
    array = np.asarray(values, float)
    require(
        array.ndim == 1 and len(array) >= at_least,
        f"{name} has shape {array.shape}, but must be a vector of at least {at_least} numbers.",
    )
    bad = np.flatnonzero(~np.isfinite(array))
    require(not len(bad), f"{name}[{bad[0] if len(bad) else 0}] is {array[bad[:1]]}, but must be finite; leave it out.")
    return array


def pairs(**given) -> tuple[Float[np.ndarray, " p"], ...]:
    """Two named measures of the same p ≥ 3 points.

    Raises:
        InvalidInput: if one is not such a vector, or their lengths differ.
    """
    (one, first), (other, second) = ((name, finite(name, values, at_least=3)) for name, values in given.items())
    require(
        len(first) == len(second),
        f"{one} has {len(first)} points and {other} {len(second)}; give one of each for every point.",
    )
    return first, second


def bootstrap(
    fit: Callable[[np.ndarray], tuple[float, ...]], points: int, whole: tuple[float, ...]
) -> tuple[Estimate, ...]:
    """The estimates `whole` of all points, with the quantiles of `fit` over resampled points (given by their indices)."""
    generator = np.random.default_rng(0)
    found = np.array([fit(generator.integers(points, size=points)) for _ in range(RESAMPLED)])
    low, high = np.quantile(found, _SIDES, axis=0)
    # An interval always holds its own value, which resampled extremes need not.
    return tuple(Estimate(v, min(v, float(a)), max(v, float(b))) for v, a, b in zip(whole, low, high))
