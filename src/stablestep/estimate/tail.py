"""ν: how heavy the tails of the gradient noise are, by two methods that fail in different ways."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from stablestep.errors import require
from stablestep.estimate.value import NORMAL, Estimate, numbers

GRID = (0.6, 0.8, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0, 14.0, 20.0, 40.0, math.inf)
_SIMULATED = 1 << 19  # numbers for each ν of the grid
SHARES = np.geomspace(0.002, 0.05, 9)  # of the largest residuals that Hill's estimate uses
STEADY = 1.35  # how far it may move over them
ZEROS = 0.02  # the most gradients in which a coordinate may be exactly 0


@dataclass(frozen=True)
class Tail:
    """How heavy the noise is.

    Attributes:
        nu: degrees of freedom of the Student-t law whose coordinates look like these; ∞ where they cannot be told from Gaussian. Tails
            heavier than ν = 0.6 cannot be told from it: 0.6 means that or less, and the interval then begins at 0.
        hill: the tail index by Hill's estimator at several shares of the largest residuals: (median, smallest, largest).
        steady: whether Hill's estimate hardly depends on that share; if not, there is no power law to speak of.
        coordinates: how many were used; left_out: how many that vary were not, being exactly 0 or of one value in too many gradients.
        shares, indices: those shares and its value at each.
    """

    nu: Estimate
    hill: Estimate
    steady: bool
    coordinates: int
    left_out: int
    shares: tuple[float, ...]
    indices: tuple[float, ...]

    @property
    def variance(self) -> str:
        """Whether the noise has a variance, in a word: finite, infinite or open."""
        if self.nu.low > 2:
            return "finite"
        return "infinite" if self.nu.high < 2 and self.hill.value < 2 else "open"


def tail(gradients) -> Tail:
    """The tail of gradient noise from gradients [n, J] of n ≥ 8 workers (or batches) at one point, J of their coordinates.

    Every coordinate has a scale of its own, so each is judged by (mean |r|)/(root mean r²) of its residuals r about its median,
    which needs no scale; the mean over coordinates is compared with that of simulated t_ν samples of the same n. Coordinates of one
    worker may depend on each other: the interval comes from leaving out workers in turn (it is too short where one random factor
    scales all coordinates of a worker, of which there are only n draws). Hill's estimate pools |r| over the median of |r| of its
    coordinate. The unit of the gradients does not matter.

    Coordinates that are exactly 0 in more than 2 % of the gradients, or of one value in half of them, are left out (and counted): zeros of
    units and embeddings that some batches do not touch would look like a heavy tail.

    Not the fit of an α-stable law, which takes ν = 2.5 for an infinite variance.

    Raises:
        InvalidInput: for another shape, fewer than 8 workers, values that are not finite, or no coordinate that varies and is not left
            out.

    >>> draws = np.random.default_rng(0).standard_t(2.5, size=(32, 2000))
    >>> found = tail(draws)
    >>> found.nu.low < 2.5 < found.nu.high, found.variance
    (True, 'finite')
    """
    samples = _checked(gradients)
    # In powers of two near each coordinate's largest, which is exact: squares of 1e200 are no numbers.
    samples = np.ldexp(samples, -np.frexp(np.abs(samples).max(axis=0))[1])
    samples, varying = _usable(samples)
    residuals = np.abs(samples - np.median(samples, axis=0))
    indices = hill(residuals / np.median(residuals, axis=0))
    return Tail(
        _degrees(samples),
        Estimate(float(np.median(indices)), float(indices.min()), float(indices.max()), "other shares"),
        bool(indices.max() < STEADY * indices.min()),
        samples.shape[1],
        varying - samples.shape[1],
        tuple(SHARES.tolist()),
        tuple(indices.tolist()),
    )


def scales(gradients, nu: float) -> tuple[float, float]:
    """The smallest and the largest scale, over coordinates that vary, of t_ν noise with the median |r| of these gradients [n, J].

    >>> draws = 3.0 * np.random.default_rng(0).standard_t(2.5, size=(100_000, 1))
    >>> [round(scale, 1) for scale in scales(draws, 2.5)]
    [3.0, 3.0]
    """
    samples = numbers("gradients", gradients)
    residuals = np.abs(samples - np.median(samples, axis=0))
    from scipy.special import ndtri, stdtrit  # slow to load

    found = np.median(residuals, axis=0) / (ndtri(0.75) if math.isinf(nu) else stdtrit(nu, 0.75))
    alive = found[found > 0]
    return (float(alive.min()), float(alive.max())) if len(alive) else (0.0, 0.0)


def _checked(gradients) -> Float[np.ndarray, "n J"]:
    samples = numbers("gradients", gradients)
    require(
        samples.ndim == 2 and samples.shape[0] >= 8 and samples.shape[1] >= 1,
        f"gradients has shape {samples.shape}, but must be [n, J]: J coordinates of n ≥ 8 gradients at one point.",
    )
    require(bool(np.all(np.isfinite(samples))), "gradients has values that are not finite; leave those workers out.")
    return samples


def _usable(samples: Float[np.ndarray, "n J"]) -> tuple[Float[np.ndarray, "n K"], int]:
    """The coordinates that are judged, and how many vary at all."""
    spread = np.abs(samples - np.median(samples, axis=0))
    varying = int(np.sum(spread.max(axis=0) > 0))
    require(varying > 0, "no coordinate varies between the gradients, so there is no noise to measure.")
    alive = (np.median(spread, axis=0) > 0) & (np.mean(samples == 0, axis=0) <= ZEROS)
    require(
        bool(alive.any()),
        f"all {varying} coordinates that vary are exactly 0 in more than {100 * ZEROS:g} % of the gradients, or of one value in half of "
        "them, and such coordinates are left out (units that a batch does not touch look like a heavy tail); give others.",
    )
    return samples[:, alive], varying


def _degrees(samples: Float[np.ndarray, "n J"]) -> Estimate:
    """ν, from the statistic and its error over workers."""
    statistic, error = _jackknife(samples)
    low, nu, high = (_nu(statistic + sign * NORMAL * error, len(samples)) for sign in (-1, 0, 1))
    return Estimate(nu, low if low > GRID[0] else 0.0, high)


def hill(sizes: Float[np.ndarray, "n J"]) -> Float[np.ndarray, " shares"]:
    """1/mean log(X_i/X_k) over the k largest of all, for each share k/(nJ).

    >>> uniform = (np.arange(1e5) + 0.5) / 1e5
    >>> hill(uniform[:, None] ** -0.5).round(1).min().item()
    2.0
    """
    largest = np.sort(sizes, axis=None)[::-1]
    ks = np.maximum(2, (SHARES * len(largest)).astype(int))
    logs = np.log(largest[: min(len(largest), int(ks.max()) + 1)])
    ks = np.minimum(ks, len(logs) - 1)
    excess = np.cumsum(logs)[ks - 1] / ks - logs[ks]
    return 1 / np.maximum(excess, np.finfo(float).tiny)


def _statistic(samples: Float[np.ndarray, "n J"]) -> float:
    """(mean |r|)/(root mean r²), averaged over coordinates; √(2/π) for many Gaussian samples, smaller for heavier tails."""
    residuals = samples - np.median(samples, axis=0)
    square = np.mean(residuals**2, axis=0)
    alive = square > 0
    return float(np.mean(np.mean(np.abs(residuals), axis=0)[alive] / np.sqrt(square[alive])))


def _jackknife(samples: Float[np.ndarray, "n J"]) -> tuple[float, float]:
    """The statistic and its standard error over workers."""
    count = len(samples)
    without = np.array([_statistic(np.delete(samples, worker, axis=0)) for worker in range(count)])
    return _statistic(samples), float(np.sqrt((count - 1) / count * np.sum((without - without.mean()) ** 2)))


def _nu(statistic: float, count: int) -> float:
    """The ν whose samples of this size have that statistic."""
    expected = np.array(_expected(count))
    inverse = np.array([1 / nu for nu in GRID])[::-1]
    found = float(np.interp(-statistic, -expected[::-1], inverse))
    return 1 / found if found > 0 else math.inf


@lru_cache(maxsize=16)
def _expected(count: int) -> tuple[float, ...]:
    """The statistic's mean at each ν of the grid, by simulation."""
    generator = np.random.default_rng(0)
    shape = count, max(1, _SIMULATED // count)
    normal = generator.standard_normal(shape)
    return tuple(
        _statistic(normal if math.isinf(nu) else normal / np.sqrt(generator.chisquare(nu, shape) / nu)) for nu in GRID
    )
