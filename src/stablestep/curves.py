"""A line of a picture: what it is of, where it leaves the picture, and what the legend says of it."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from stablestep.errors import InvalidInput, instance, require
from stablestep.looks import CATEGORIES, graded, percent

OWN = ("time", "iteration")  # coordinates that each point of a sweep may have for itself

# A diverging run is followed up to this many times the initial value.
HEADROOM = {True: 1e3, False: 3.0}


class Curve(NamedTuple):
    """One line of a picture: its text, its result without grid dimensions, its colour; no times are left of what was never computed."""

    label: str
    result: xr.Dataset
    color: Any


def variable(result: xr.Dataset, name: str, dims: tuple[str, ...] = (), of: str = "simulate") -> xr.DataArray:
    """Of a result of that function, in the order of these dimensions, or a sentence on what to give."""
    instance("result", result, xr.Dataset, f"what {of} returned")
    if "failure" in result and name not in result:
        raise InvalidInput(f"nothing is there to draw: {_reason(result)}")
    require(name in result, f'the Dataset has no variable "{name}": give one that {of} returned')
    for dim in dims:
        require(
            dim in result[name].dims,
            f'"{name}" has no dimension "{dim}": choose by a list, such as result.isel({dim}=[0])',
        )
    return result[name].transpose(*dims, ...) if dims else result[name]


def single(label: str, result: xr.Dataset, color: Any) -> Curve:
    """The line of a result that has no grid dimension."""
    grid = _grid(result)
    require(not grid, f'"{label}" has the grid dimension {", ".join(grid)}: choose one value with result.sel(...)')
    return _curve(label, result, color)


def curves_of(result: xr.Dataset, label: str | None, color: Any) -> list[Curve]:
    """One, or of a result with one grid dimension every value."""
    grid, label = _grid(result), "" if label is None else str(label)
    require(len(grid) <= 1, f"the result has the grid dimensions {', '.join(grid)}: choose values with result.sel(...)")
    curves = _lines(result, grid[0], label, color) if grid else [_curve(label, result, color or CATEGORIES[0])]
    there = any(curve.result.sizes["time"] for curve in curves)
    require(there, f"nothing is there to draw: {_reason(result) or 'no point is finished.'}")
    return curves


def _lines(result: xr.Dataset, dim: str, label: str, color: Any) -> list[Curve]:
    """One for each value along a grid dimension."""
    points = [result.isel({dim: [place]}) for place in range(result.sizes[dim])]
    names = [", ".join(filter(None, (label, _name(point, dim)))) for point in points]
    shades = graded(len(points))
    return [_curve(name, point.isel({dim: 0}), color or one) for name, point, one in zip(names, points, shades)]


def _name(point: xr.Dataset, dim: str) -> str:
    """What is varied, and its value; in a list of points several things are."""
    varied = [dim] if dim in point.coords else [str(name) for name in point.coords if point[name].dims == (dim,)]
    return ", ".join(f"{name} = {text_of(point[name].values[0])}" for name in varied or [dim])


def _curve(label: str, result: xr.Dataset, color: Any) -> Curve:
    one = settled(result)
    if one.sizes["time"]:
        return Curve(label, one, color)
    word = "refused" if _reason(result) else "not finished"
    return Curve(f"{label}: {word}" if label else word, one, color)


def _reason(result: xr.Dataset) -> str:
    """Why the first of the points that a sweep's function refused was; empty where none was."""
    words = np.ravel(result["failure"].values) if "failure" in result else []
    return next((str(one) for one in words if one), "")


def settled(result: xr.Dataset) -> xr.Dataset:
    """A result at the times that it has itself: along a sweep others may have more, or t = kη of another η."""
    if "time" not in result.dims and _reason(result):
        raise InvalidInput(f"nothing is there to draw: {_reason(result)}")
    require(
        "time" in result.dims, 'the result has no dimension "time": choose by a list, such as result.isel(time=[0])'
    )
    own = {name: ("time", result[f"{name}_of_point"].values) for name in OWN if f"{name}_of_point" in result}
    result = result.assign_coords(own)
    there = ~np.isnan(times_of(result))
    if "diverged" in result:
        there &= ~np.isnan(variable(result, "diverged", ("time",)).values)
    return result if there.all() else result.isel(time=there)


def _grid(result: xr.Dataset) -> list[str]:
    instance("result", result, xr.Dataset, "what simulate returned")
    series = next((result[name] for name in ("loss_quantile", "diverged") if name in result), xr.DataArray(0.0))
    return [str(dim) for dim in series.dims if dim not in ("quantile", "time")]


def text_of(value: Any) -> str:
    """A value in a legend."""
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
    known = series["quantile"].values
    there = np.flatnonzero(np.abs(known - quantile) < 1e-6)
    listed = ", ".join(f"{one:g}" for one in known)
    require(there.size, f"the result has no quantile {quantile:g}, but only {listed}; draw bands between these.")
    values = series.isel(quantile=int(there[0])).values.astype(float)
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
    fraction = float(np.append(0.0, curve.result["diverged"])[-1]) if "diverged" in curve.result else 0.0
    if fraction > 0:
        notes.append(f"{percent(fraction)} diverged")
    if stop < curve.result.sizes["time"]:
        iterations = curve.result["iteration"].values if "iteration" in curve.result.coords else np.arange(stop + 1)
        every = stop == 0 or iterations[stop] - iterations[stop - 1] <= 1
        notes.append(f"median diverged {'at' if every else 'by'} k = {int(iterations[stop])}")
    return ": ".join(part for part in (curve.label, ", ".join(notes)) if part) or "median"
