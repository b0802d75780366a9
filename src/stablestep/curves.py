"""A line of a picture: what it is of, where it leaves the picture, and what the legend says of it."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from stablestep.errors import instance, require
from stablestep.looks import CATEGORIES, graded, percent

# A diverging run is followed up to this many times the initial value.
HEADROOM = {True: 1e3, False: 3.0}


class Curve(NamedTuple):
    """One line of a picture: its text, its result without grid dimensions, its colour."""

    label: str
    result: xr.Dataset
    color: Any


def variable(result: xr.Dataset, name: str, of: str = "simulate") -> xr.DataArray:
    """Of a result of that function, or a sentence on what to give."""
    instance("result", result, xr.Dataset, f"what {of} returned")
    require(name in result, f'the Dataset has no variable "{name}": give one that {of} returned')
    return result[name]


def single(label: str, result: xr.Dataset) -> xr.Dataset:
    """The result, which has no grid dimension."""
    grid = _grid(result)
    require(not grid, f'"{label}" has the grid dimension {", ".join(grid)}: choose one value with result.sel(...)')
    return result


def curves_of(result: xr.Dataset, label: str | None, color: Any) -> list[Curve]:
    """One, or of a result with one grid dimension every value."""
    grid = _grid(result)
    require(len(grid) <= 1, f"the result has the grid dimensions {', '.join(grid)}: choose values with result.sel(...)")
    if not grid:
        return [Curve(label or "", result, color or CATEGORIES[0])]
    (dim,) = grid
    shades = graded(result.sizes[dim])
    start = f"{label}, " if label else ""
    names = [f"{start}{dim} = {_text(value)}" for value in result[dim].values]
    return [Curve(name, result.isel({dim: i}), color or shades[i]) for i, name in enumerate(names)]


def _grid(result: xr.Dataset) -> list[str]:
    instance("result", result, xr.Dataset, "what simulate returned")
    series = next((result[name] for name in ("loss_quantile", "diverged") if name in result), xr.DataArray(0.0))
    return [str(dim) for dim in series.dims if dim not in ("quantile", "time")]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)


def times_of(result: xr.Dataset) -> np.ndarray:
    """t = kη."""
    return np.asarray(result["time"].values)


def ceiling_of(values: np.ndarray, log: bool) -> float:
    """The highest value worth showing: everything, unless a quantile is infinite."""
    finite = values[np.isfinite(values)]
    highest = float(finite.max()) if finite.size else 1.0
    start = values[:, 0][np.isfinite(values[:, 0])]
    if np.all(np.isfinite(values)) or not (start.size and start.max() > 0):
        return highest
    return min(highest, HEADROOM[log] * float(start.max()))


def draw_bands(ax: Axes, curve: Curve, series: xr.DataArray, bands: Any, ceiling: float, alpha: float) -> None:
    """Between pairs of quantiles."""
    times = times_of(curve.result)
    for low, high in bands:
        bottom, top = (np.minimum(quantile_of(series, q), ceiling) for q in (low, high))
        ax.fill_between(times, bottom, top, color=curve.color, alpha=alpha, lw=0)


def draw_median(ax: Axes, curve: Curve, series: xr.DataArray, ceiling: float, log: bool) -> None:
    """The line, with a triangle where it becomes infinite."""
    times, values = times_of(curve.result), quantile_of(series, 0.5)
    stop = int(np.argmax(np.isinf(values))) if np.isinf(values).any() else len(values)
    ax.plot(*_below(times, values, ceiling, log), color=curve.color, lw=1.8, label=_note(curve, stop))
    if stop < len(values):
        ax.plot(times[stop], ceiling, marker="^", ms=8, color=curve.color, mec="white", clip_on=False, zorder=5)


def quantile_of(series: xr.DataArray, quantile: float) -> np.ndarray:
    """Infinite where it is unknown."""
    values = series.sel(quantile=quantile, method="nearest", tolerance=1e-6).values.astype(float)
    return np.where(np.isnan(values), np.inf, values)


def _below(times: np.ndarray, values: np.ndarray, ceiling: float, log: bool) -> tuple[np.ndarray, np.ndarray]:
    """The line up to where it leaves the picture through its ceiling for good."""
    last = int(np.flatnonzero(values <= ceiling).max(initial=-1))
    if last == len(values) - 1 or last < 0:
        return times[: last + 1], np.minimum(values[: last + 1], ceiling)
    start, end, top = (np.log(value) if log else value for value in (values[last], values[last + 1], ceiling))
    part = 1.0 if np.isinf(end) else float((top - start) / (end - start))
    leaves = times[last] + part * (times[last + 1] - times[last])
    return np.append(times[: last + 1], leaves), np.append(np.minimum(values[: last + 1], ceiling), ceiling)


def _note(curve: Curve, stop: int) -> str:
    """The legend's text: what diverged, and where the median did."""
    notes = []
    fraction = float(curve.result["diverged"].values[-1]) if "diverged" in curve.result else 0.0
    if fraction > 0:
        notes.append(f"{percent(fraction)} diverged")
    if stop < curve.result.sizes["time"]:
        iterations = curve.result["iteration"].values if "iteration" in curve.result.coords else np.arange(stop + 1)
        every = stop == 0 or iterations[stop] - iterations[stop - 1] <= 1
        notes.append(f"median diverged {'at' if every else 'by'} k = {int(iterations[stop])}")
    return ": ".join(part for part in (curve.label, ", ".join(notes)) if part) or "median"
