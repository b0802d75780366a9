"""A number with its uncertainty, and the reading of what any framework calls numbers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from stablestep.errors import InvalidInput, require

RESAMPLED = 400
LEVEL, REDRAWN, NOTHING = "90 %", "redrawn points", "nothing"  # what intervals cover
FEWEST = 6  # points of which resampling says anything
_SIDES = (0.05, 0.95)
NORMAL = 1.6449  # their distance in standard errors


@dataclass(frozen=True)
class Estimate:
    """A value and an interval.

    Attributes:
        value: the estimate.
        low, high: the interval.
        covers: what it is to hold. "90 %": the truth, in 90 % of cases. "nothing": none can be had, and it is all that is possible. Else
            the value under other choices, such as "redrawn points": how much hangs on few of them, which says nothing of what was not seen.

    >>> str(Estimate(1.0, 0.5, 2.0))
    '1 (0.5 to 2)'
    """

    value: float
    low: float
    high: float
    covers: str = LEVEL

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self._interval})"

    @property
    def _interval(self) -> str:
        if self.covers == NOTHING:
            return "no interval"
        under = "" if self.covers == LEVEL else f" for {self.covers}"
        if self.low == self.high:
            return f"the same{under}" if under else "no spread seen"
        return f"{self.low:.3g} to {self.high:.3g}{under}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON, where what is not finite is null."""
        numbers = {name: getattr(self, name) for name in ("value", "low", "high")}
        return {name: x if math.isfinite(x) else None for name, x in numbers.items()} | {"covers": self.covers}


def unknown(value: float) -> Estimate:
    """A value of at least 0 of which nothing more is known.

    >>> str(unknown(2.0))
    '2 (no interval)'
    """
    return Estimate(value, 0.0, math.inf, NOTHING)


def of_mean(samples) -> Estimate:
    """The mean of independent samples [n ≥ 2], with a normal interval; of no width where all samples are equal.

    Raises:
        InvalidInput: if there are fewer than two, or one is not finite.

    >>> of_mean([1.0, 2.0, 3.0])
    Estimate(value=2.0, low=1.0503..., high=2.9496..., covers='90 %')
    """
    samples = finite("samples", samples, at_least=2)
    error = NORMAL * float(samples.std(ddof=1)) / math.sqrt(len(samples))
    mean = float(samples.mean())
    return Estimate(mean, mean - error, mean + error)


def numbers(name: str, values: Any) -> Float[np.ndarray, "..."]:
    """What any framework calls an array of real numbers, or a list of them, as float64.

    Raises:
        InvalidInput: where it cannot be read as such.

    >>> numbers("curvature", [1, 2.5]).dtype.name
    'float64'
    """
    try:
        array = np.asarray(_native(values))
        # Frameworks' own kinds of float, such as bfloat16, are no kind that NumPy knows.
        real = array.dtype.kind not in "bcSUmMO" or (array.dtype.kind == "O" and array.size == 0)
        converted = array.astype(float) if real else None
    except Exception as error:
        said = " ".join(str(error).split())[:80]
        raise InvalidInput(
            f"{name} is a {type(values).__name__} that cannot be read as numbers ({said}); give a NumPy array."
        ) from error
    if converted is None:
        raise InvalidInput(
            f"{name} holds {array.dtype.name} values, but must hold real numbers; give an array of floats."
        )
    return converted


def _native(values: Any) -> Any:
    """PyTorch's tensors, which refuse NumPy while they carry a gradient, live on another device or are bfloat16."""
    if isinstance(values, (list, tuple)):
        return [_native(value) for value in values]
    if hasattr(values, "detach") and not values.is_complex():
        return values.detach().cpu().double().numpy()
    return values


def finite(name: str, values, at_least: int) -> Float[np.ndarray, " n"]:
    """Values as a vector.

    Raises:
        InvalidInput: if it is none, too short, or holds what is not finite.
    """
    array = numbers(name, values)
    require(
        array.ndim == 1 and len(array) >= at_least,
        f"{name} has shape {array.shape}, but must be a vector of at least {at_least} numbers.",
    )
    bad = np.flatnonzero(~np.isfinite(array))
    require(not len(bad), f"{name}[{bad[0] if len(bad) else 0}] is {array[bad[:1]]}, but must be finite; leave it out.")
    return array


def unit(values: Float[np.ndarray, " n"]) -> float:
    """A power of two near the largest |value| (1 for zeros), by which values are divided exactly, so that their squares are numbers."""
    return float(np.ldexp(1.0, int(np.frexp(np.max(np.abs(values)))[1]) - 1)) if np.any(values) else 1.0


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
    """The estimates `whole` of all points, with the quantiles of `fit` over resampled points (given by their indices).

    The interval says how much hangs on few points, which is not the truth's 90 %: see `widened` for a mean or a fit.
    """
    if points < FEWEST:
        return tuple(unknown(value) for value in whole)
    generator = np.random.default_rng(0)
    found = np.array([fit(generator.integers(points, size=points)) for _ in range(RESAMPLED)])
    low, high = np.quantile(found, _SIDES, axis=0)
    # An interval always holds its own value, which resampled extremes need not.
    return tuple(Estimate(v, min(v, float(a)), max(v, float(b)), REDRAWN) for v, a, b in zip(whole, low, high))


def widened(found: Estimate, points: int, fitted: int) -> Estimate:
    """The interval of a least-squares fit of `fitted` numbers, at least 0, that should hold the truth in 90 % of cases.

    Resampled residuals are too small by √((p − fitted)/p), and their number asks for Student's quantile in place of the normal one. Where
    the value is the same for all resampled points, there is no interval.
    """
    if found.covers == NOTHING or found.low == found.high:
        return unknown(found.value)
    rest = points - fitted
    from scipy.special import stdtrit  # slow to load

    factor = float(stdtrit(rest, _SIDES[1])) / NORMAL * math.sqrt(points / rest)
    low, high = (found.value + factor * (end - found.value) for end in (found.low, found.high))
    return Estimate(found.value, max(0.0, low), high)
