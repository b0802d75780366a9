"""From samples to a measured number with its standard error, and from there to a `Check`."""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Float

from stablestep import plot
from stablestep.claim import Check

Measured = tuple[float, float]


def mean(samples: np.ndarray) -> Measured:
    """The mean and its standard error.

    >>> mean(np.array([1.0, 3.0]))
    (2.0, 1.0)
    """
    return float(np.mean(samples)), float(np.std(samples, ddof=1) / np.sqrt(len(samples)))


def fraction(hits: np.ndarray) -> Measured:
    """How often something happened; the standard error is never below that of a single event.

    >>> fraction(np.zeros(100, bool))
    (0.0, 0.01)
    """
    share, count = float(np.mean(hits)), len(hits)
    return share, max(float(np.sqrt(share * (1 - share) / count)), 1 / count)


def difference(first: Measured, second: Measured) -> Measured:
    """first − second of independent measurements.

    >>> difference((3.0, 3.0), (1.0, 4.0))
    (2.0, 5.0)
    """
    return first[0] - second[0], float(np.hypot(first[1], second[1]))


def check(
    measured: Measured, relation: Literal["=", "<=", ">="], predicted: float, label: str, **options: float
) -> Check:
    """A `Check` of a measured number.

    >>> check((1.0, 0.01), ">=", 0.5, "an example").outcome
    'holds'
    """
    return Check(measured[0], measured[1], predicted, relation, label=label, **options)


def order_check(found: xr.Dataset, predicted: float, label: str) -> Check:
    """A `Check` that errors are of the order `predicted`, by the slope as η → 0; it holds only where they tell one (`compare.scaling`).

    >>> from stablestep.compare.scaling import order_table
    >>> etas = [0.4, 0.2, 0.1, 0.05]
    >>> order_check(order_table(etas, np.square(etas), np.zeros(4)), 2, "an example").outcome
    'holds'
    """
    told = f"{label} (95 % interval {found.slope_low:.3f} to {found.slope_high:.3f}; order {found.order})"

    def checked(slope: float) -> Check:
        return Check(slope, found.slope_stderr, predicted, "=", found.slope_departure, margin=0.5, label=told)

    by_slope = checked(found.slope)
    # A slope that fits more than one order may still be none of the predicted one.
    return by_slope if found.order != "undecided" or by_slope.outcome == "fails" else checked(np.nan)


def gone(result: xr.Dataset) -> np.ndarray:
    """Which runs diverged."""
    return np.isfinite(result.divergence_iteration.values)


def diverged(results: Iterable[xr.Dataset], name: str, values: Sequence[float]) -> Float[np.ndarray, "results values"]:
    """The share of runs of each result that diverged, for every value of its parameter `name`."""
    return np.array([[fraction(gone(result.sel({name: value})))[0] for value in values] for result in results])


def by_start(symbol: str, starts: Sequence[float], shares: Float[np.ndarray, "starts values"]) -> str:
    """Shares in words.

    >>> by_start("x0", [1.0, 2.0], np.array([[0.0, 0.5], [0.25, 1.0]]))
    'x0 = 1: 0 %, 50.0 %; x0 = 2: 25.0 %, 100 %'
    """
    rows = zip(starts, shares, strict=True)
    return "; ".join(f"{symbol} = {x0:g}: {', '.join(plot.percent(share) for share in row)}" for x0, row in rows)


def at_end(result: xr.Dataset) -> Measured:
    """The mean loss at the last recorded time."""
    return float(result.loss_mean[-1]), float(result.loss_stderr[-1])
