"""From signed errors at a few step sizes to an order, or to the sentence that says why there is none."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from stablestep.errors import positive, require, shown
from stablestep.later import xarray as xr

Floats = Float[np.ndarray, " n"]

FAINT = 5.0  # standard errors that every error must be away from 0
SURE = 3.5  # standard errors of the slope within which an order must lie
ROUGH = 0.01  # what the fit need not explain of an error, relative to it: terms beyond the second
MISFIT = 1e-6  # how often the fit is refused where it is right
CLEAR = 0.5  # how near an order must be known, so that no second whole number fits
STRAIGHT = 0.1  # how near an order must be known that is no whole number: a sum of two powers never looks as straight,
APART = 0.2  # or does so within this of a whole number only


@dataclass(frozen=True)
class Scaling:
    """How errors fall with η.

    Attributes:
        slope: of log|error| against log η, extrapolated to η → 0; not a number where the errors are no power of η with one correction.
        stderr: of the slope, from sampling (and from 1 % of every error, which the fit need not explain).
        departure: by how much the slope over the whole range, without extrapolation, is another one.
        order: what the slope supports: a whole number, another one where the errors are a plain power, or "undecided".
        reason: why, in one sentence.
    """

    slope: float
    stderr: float
    departure: float
    order: float | str
    reason: str

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval: slope − 1.96 stderr − departure."""
        return self.slope - self._half if math.isfinite(self.slope) else -math.inf

    @property
    def high(self) -> float:
        """The upper end."""
        return self.slope + self._half if math.isfinite(self.slope) else math.inf

    @property
    def _half(self) -> float:
        return 1.96 * self.stderr + self.departure


def scaling(
    etas: Sequence[float] | Floats, error: Sequence[float] | Floats, stderr: Sequence[float] | Floats
) -> Scaling:
    """The order p of errors a η^p (1 + bη + …), if they are of this kind and tell p.

    log|error| = log a + p log η + bη is fitted by weighted least squares. p is the slope as η → 0, and the departure is |p − slope of the
    plain power law|: what the first correction does, which bounds what those that follow it do in an asymptotic range.

    The order is undecided

    - where an error is within 5 standard errors of 0, or the errors change their sign: there is no power of one sign then;
    - where the fit leaves more than sampling explains (and more than 1 %), as it does once in a million times where it is right;
    - where 3.5 stderr + departure is ½ or more: two orders fit;
    - where no whole number is that near to the slope. Another number is an order where 3.5 stderr + departure ≤ 0.1 and it is 0.2 or
      more from a whole number: aη^p + bη^(p+1) is not that straight over any range.

    For errors of this kind with normal sampling errors a whole p that can be told is refused once in a million times, and another whole
    number in its place needs an estimate off by more than ½, which then is more than 3.5 stderr. What no finite range shows is a lower
    power that is below a fifth of the errors at the smallest of four halved η, or a half where the range is narrow.

    Args:
        etas: four or more different step sizes.
        error: signed errors.
        stderr: their standard errors, independent of each other; 0 for exact errors.

    Raises:
        InvalidInput: for fewer than four different etas, or one that is not greater than 0.

    >>> found = scaling([0.1, 0.05, 0.025, 0.0125], [-0.0121, -0.00276, -0.00066, -0.00016], [1e-6] * 4)
    >>> found.order, round(found.slope, 1)
    (2, 2.0)
    """
    largest_first = np.argsort(require_etas(etas))[::-1]
    eta, error, stderr = (np.asarray(values, float)[largest_first] for values in (etas, error, stderr))
    objection = _faint(eta, error, stderr) or _crossing(eta, error)
    if objection:
        return _without_slope(objection)
    size, relative = np.abs(error), np.hypot(stderr / error, ROUGH)
    plain, _, _ = _fit([np.log(eta)], np.log(size), relative)
    slope, slope_stderr, left = _fit([np.log(eta), eta / eta[0]], np.log(size), relative)
    from scipy.special import chdtri  # slow to load

    if left > chdtri(len(eta) - 3, MISFIT):
        local = ", ".join(f"{each:.2g}" for each in np.diff(np.log(size)) / np.diff(np.log(eta)))
        return _without_slope(
            f"The errors are no power of η with one correction (local slopes {local}): take smaller etas."
        )
    departure = abs(slope - plain)
    return Scaling(slope, slope_stderr, departure, *_decided(slope, slope_stderr, departure))


def order_table(etas: Sequence[float], error: Floats, stderr: Floats, **attrs) -> "xr.Dataset":
    """The errors over `eta`, with what they say about the order as attributes beside `attrs`."""
    found = scaling(etas, error, stderr)
    told = {
        "order": found.order,
        "reason": found.reason,
        "slope": found.slope,
        "slope_low": found.low,
        "slope_high": found.high,
        "slope_stderr": found.stderr,
        "slope_departure": found.departure,
    }
    columns = {"error": ("eta", error), "stderr": ("eta", stderr)}
    return xr.Dataset(columns, {"eta": list(etas)}, told | attrs)


def require_etas(etas: Iterable[float]) -> Floats:
    """The step sizes, of which at least four must differ.

    Raises:
        InvalidInput: otherwise, and for one that is not greater than 0.
    """
    listed = isinstance(etas, Iterable) and not isinstance(etas, str) and getattr(etas, "ndim", 1) == 1
    require(listed, f"etas is {shown(etas)}, but must list at least four step sizes, such as [0.08, 0.04, 0.02, 0.01].")
    values = np.array([positive("each of etas", eta) for eta in etas])
    count = len(set(values))
    require(count == len(values), f"etas has {len(values)} values, but {count} different ones; give each once.")
    require(count >= 4, f"etas has {count} different values, but a slope needs at least four.")
    return values


def largest(values: Floats) -> float:
    """The value of the largest size, with its sign.

    >>> largest(np.array([1.0, -2.0]))
    -2.0
    """
    return float(values[np.argmax(np.abs(values))])


def _without_slope(reason: str) -> Scaling:
    return Scaling(math.nan, math.inf, math.inf, "undecided", reason)


def _faint(eta: Floats, error: Floats, stderr: Floats) -> str:
    for h, value, spread in zip(eta, error, stderr, strict=True):
        if not abs(value) > FAINT * spread:
            near = f"within {FAINT:g} standard errors of 0; take more runs or larger etas."
            return f"The error at η = {h:g} is {value:.2g} ± {spread:.2g}, {near}"
    return ""


def _crossing(eta: Floats, error: Floats) -> str:
    change = np.flatnonzero(np.diff(np.sign(error)))
    if not len(change):
        return ""
    above, below = eta[change[0]], eta[change[0] + 1]
    return (
        f"The error changes its sign between η = {above:g} and {below:g}: it is no power of η there; take smaller etas."
    )


def _fit(columns: list[Floats], values: Floats, spread: Floats) -> tuple[float, float, float]:
    """Weighted least squares on 1 and `columns`: the first column's coefficient, its standard error, and the χ² that is left."""
    design = np.stack([np.ones_like(values), *columns], axis=1) / spread[:, None]
    inverse = np.linalg.pinv(design)
    coefficients = inverse @ (values / spread)
    left = values / spread - design @ coefficients
    return round(float(coefficients[1]), 12), float(np.linalg.norm(inverse[1])), float(left @ left)


def _decided(slope: float, stderr: float, departure: float) -> tuple[float | str, str]:
    """The order that the slope supports, and why."""
    spread, whole = SURE * stderr + departure, round(slope)
    told = f"the slope as η → 0 is {slope:.3g} ± {stderr:.2g}, and {departure:.2g} away from that of a plain power"
    if spread >= CLEAR:
        better = "take more runs or more etas" if SURE * stderr > departure else "take smaller etas"
        return "undecided", f"More than one order fits: {told}; {better}."
    if abs(slope - whole) <= spread:
        return whole, f"Only {whole} fits: {told}."
    if spread <= STRAIGHT and abs(slope - whole) >= APART:
        return round(slope, 2), f"A plain power that is no whole number: {told}."
    return "undecided", f"No whole number fits: {told}; take smaller etas or more runs."
