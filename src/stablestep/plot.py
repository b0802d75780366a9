"""Pictures of what `simulate` returns: every function draws one thing and returns the matplotlib axes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from stablestep.errors import instance, require
from stablestep.looks import CATEGORIES, distinct, dress, graded, legend_of, plain

Bands = tuple[tuple[float, float], ...]
BANDS: Bands = ((0.05, 0.95), (0.25, 0.75))
# A diverging run is followed up to this many times the initial value.
HEADROOM = {True: 1e3, False: 3.0}


class Curve(NamedTuple):
    """One line of a picture: its text, its result without grid dimensions, its colour."""

    label: str
    result: xr.Dataset
    color: Any


def panels(rows: int = 1, columns: int = 1, width: float = 5.4, height: float = 3.7) -> tuple[Figure, Any]:
    """A figure of rows × columns axes, each `width` × `height` inches, that no graphical backend needs to know of.

    Returns the figure and its axes: one Axes, or an array (rows, columns) with the dimensions of length one left out.

    >>> figure, axes = panels(1, 3)
    >>> axes.shape
    (3,)
    """
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns)


def loss(
    result: xr.Dataset,
    ax: Axes | None = None,
    label: str | None = None,
    log: bool = True,
    color: Any = None,
    bands: Bands | None = None,
    log_time: bool = False,
) -> Axes:
    """The median of f(x_k) over the runs against t = kη, with the bands between pairs of quantiles.

    Diverged runs count as +∞: where a median becomes infinite a triangle stands at the top, and the legend says at
    which iteration, and which fraction of the runs diverged. Of a result with one grid dimension every value is a line.

    result: Dataset of `simulate`; log: logarithmic values (linear where one is negative); bands: pairs of quantiles,
    .05 to .95 and .25 to .75 (of more than four lines the latter only) unless given; log_time: logarithmic time.
    Raises `InvalidInput` for a Dataset without `loss_quantile` or with two grid dimensions or more.

    >>> import numpy as np, xarray as xr
    >>> values = np.geomspace(1, 0.1, 10) * np.array([[0.5], [0.8], [1], [1.2], [2]])
    >>> result = xr.Dataset(
    ...     {"loss_quantile": (("quantile", "time"), values)},
    ...     coords={"quantile": [0.05, 0.25, 0.5, 0.75, 0.95], "time": np.arange(10) * 0.1},
    ... )
    >>> loss(result).get_ylabel()
    'f(x)'
    """
    return _quantiles("loss", "f(x)", _curves(result, label, color), ax, log, bands, log_time)


def gradient_norm(
    result: xr.Dataset,
    ax: Axes | None = None,
    label: str | None = None,
    log: bool = True,
    color: Any = None,
    bands: Bands | None = None,
    log_time: bool = False,
) -> Axes:
    """The median of ‖∇f(x_k)‖ over the runs against t = kη; everything else is as in `loss`."""
    return _quantiles("gradient_norm", "‖∇f(x)‖", _curves(result, label, color), ax, log, bands, log_time)


def compare(
    results: Mapping[str, xr.Dataset],
    ax: Axes | None = None,
    log: bool = True,
    bands: Bands | None = None,
    log_time: bool = False,
) -> Axes:
    """Several results over each other: {label: result}, drawn as `loss` draws one.

    Raises `InvalidInput` for no result, or one with a grid dimension. What `stablestep.compare` returns is drawn by `gap`.

    >>> compare({})
    Traceback (most recent call last):
    ...
    stablestep.errors.InvalidInput: compare got no result: give {label: result} with at least one
    """
    require(
        isinstance(results, Mapping) and not isinstance(results, xr.Dataset),
        "plot.compare draws several results of simulate: give {label: result}; of what ss.compare returns, plot.gap.",
    )
    require(len(results) > 0, "compare got no result: give {label: result} with at least one")
    colors = distinct(len(results))
    curves = [Curve(label, _single(label, one), color) for (label, one), color in zip(results.items(), colors)]
    return _quantiles("loss", "f(x)", curves, ax, log, bands, log_time)


def gap(table: xr.Dataset, ax: Axes | None = None, log_time: bool = False) -> Axes:
    """What `stablestep.compare` returns: the mean loss of the optimizer, with a band of two standard errors, and that of each model.

    Raises `InvalidInput` for a Dataset without `loss_discrete` and `loss_model`.

    >>> losses = (("model", "time"), np.ones((1, 2)))
    >>> columns = dict.fromkeys(("loss_discrete", "loss_discrete_stderr", "loss_model"), losses)
    >>> gap(xr.Dataset(columns, {"model": ["new"], "time": [0.0, 0.1]})).get_ylabel()
    'mean of f(x)'
    """
    alone, ax = ax is None, _axes(ax)
    models = _variable(table, "loss_model", of="compare").transpose("model", "time")
    mean, error = (_variable(table, name).isel(model=0).values for name in ("loss_discrete", "loss_discrete_stderr"))
    ax.plot(table["time"], mean, color="black", lw=2.6, label="optimizer")
    ax.fill_between(table["time"].values, mean - 2 * error, mean + 2 * error, color="black", alpha=0.2, lw=0)
    for name, series, color in zip(table["model"].values, models.values, distinct(len(models))):
        ax.plot(table["time"], series, color=color, lw=1.8, ls="--", label=str(name))
    if np.all(models.values > 0) and np.all(mean > 0):
        ax.set_yscale("log")
    _frame(ax, "mean of f(x)", log_time, [Curve("", table, None)])
    return legend_of(ax, alone, "mean; of the optimizer with two standard errors")


def diverged(
    result: xr.Dataset, ax: Axes | None = None, label: str | None = None, color: Any = None, log_time: bool = False
) -> Axes:
    """The fraction of the runs that have diverged by t = kη; of a result with one grid dimension every value is a line.

    Raises `InvalidInput` for a Dataset without `diverged` or with two grid dimensions or more.
    """
    alone, ax = ax is None, _axes(ax)
    curves = _curves(result, label, color)
    for curve in curves:
        fraction = _variable(curve.result, "diverged").values
        text = f"{curve.label}: {percent(fraction[-1])}" if curve.label else percent(fraction[-1])
        ax.plot(_times(curve.result), fraction, color=curve.color, drawstyle="steps-post", label=text, lw=1.8)
    highest = max(float(curve.result["diverged"].max()) for curve in curves)
    _frame(ax, "fraction of runs diverged", log_time, curves)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_ylim(-0.02 * (highest or 1.0), max(1.06 * (highest or 1.0), ax.get_ylim()[1] if highest else 0.0))
    return legend_of(ax, alone, "diverged at the end")


def mean_loss(result: xr.Dataset, ax: Axes | None = None, label: str | None = None, log_time: bool = False) -> Axes:
    """The mean of f(x_k) over the runs with a band of two standard errors, for laws whose moments exist.

    It ends at the first divergence, from where on the mean is infinite; see `loss` for the quantiles.

    >>> import numpy as np, xarray as xr
    >>> values = {"loss_mean": ("time", np.ones(3)), "loss_stderr": ("time", np.zeros(3))}
    >>> mean_loss(xr.Dataset(values, coords={"time": np.arange(3) * 0.1})).get_ylabel()
    'mean of f(x)'
    """
    alone, ax, curves = ax is None, _axes(ax), _curves(result, label, None)
    for curve in curves:
        mean, error = (np.asarray(_variable(curve.result, f"loss_{name}").values, float) for name in ("mean", "stderr"))
        keep = np.isfinite(mean)
        times = _times(curve.result)[keep]
        ax.plot(times, mean[keep], color=curve.color, lw=1.8, label=curve.label)
        low, high = (mean[keep] + sign * 2 * error[keep] for sign in (-1, 1))
        ax.fill_between(times, low, high, color=curve.color, alpha=0.2, lw=0)
    ax.set_yscale("log", nonpositive="clip")
    _frame(ax, "mean of f(x)", log_time, curves)
    return legend_of(ax, alone, "mean, band of two standard errors")


def lines(
    x: Any, curves: Mapping[str, Any], ax: Axes | None = None, xlabel: str = "", ylabel: str = "", ordered: bool = True
) -> Axes:
    """Curves {label: y} over a common x, with a marker at each point; `ordered` labels get shades of one colour scale.

    >>> lines([1, 2], {"a": [1, 2], "b": [2, 3]}, xlabel="x").get_xlabel()
    'x'
    """
    alone, ax = ax is None, _axes(ax)
    shades = graded(len(curves)) if ordered else distinct(len(curves))
    for (label, y), color in zip(curves.items(), shades):
        ax.plot(x, y, marker="o", ms=5, lw=1.8, color=color, label=label)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return dress(ax, alone)


def edge_map(result: xr.Dataset, ax: Axes | None = None, legend: bool = True) -> Axes:
    """What `stability.edge_map` returns: the fraction of runs that end up, over the parameter and the step, with the predictors' lines.

    Raises `InvalidInput` for a Dataset without `up` and `predicted`.

    >>> import numpy as np, xarray as xr
    >>> up = (("omega", "eta"), np.array([[0.0, 1.0], [0.5, 1.0]]))
    >>> lines = (("predictor", "omega"), np.array([[0.1, 0.05]]))
    >>> grid = {"omega": [1.0, 2.0], "eta": [0.1, 0.2], "predictor": ["theorem"]}
    >>> edge_map(xr.Dataset({"up": up, "predicted": lines}, grid)).get_xlabel()
    'omega'
    """
    ax = _axes(ax)
    up, predicted = _variable(result, "up"), _variable(result, "predicted")
    name = next(str(dim) for dim in up.dims if dim != "eta")
    shading: Any = "nearest" if min(up.shape) > 1 else "auto"
    ax.pcolormesh(up[name], up["eta"], up.transpose("eta", name), cmap="Greys", vmin=0, vmax=1.25, shading=shading)
    # Dashes of different lengths: predictors often coincide.
    for line, color, dash in zip(
        predicted.transpose("predictor", name), CATEGORIES, ("-", "-", (0, (1.5, 1.5)), "--", ":")
    ):
        ax.plot(up[name], line, lw=2.2, ls=dash, color=color, label=str(line["predictor"].values))
    scale = "log" if len(up[name]) > 1 and float(up[name].min()) > 0 else "linear"
    ax.set(xlabel=name, ylabel="step η", yscale="log", xscale=scale)
    plain_ticks(ax.xaxis)
    if up.sizes["eta"] > 1:
        ax.set_ylim(float(up["eta"].min()), float(up["eta"].max()))
    if legend:
        ax.legend(fontsize=9, framealpha=0.9, loc="lower left")
    return ax


def plain_ticks(axis: Axis) -> None:
    """Numbers such as 0.5 and 20 on a logarithmic axis, at 1, 2 and 5 times the powers of ten."""
    if axis.get_scale() == "log":
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def percent(fraction: float) -> str:
    """A fraction in words.

    >>> percent(0.0432), percent(1.0)
    ('4.3 %', '100 %')
    """
    return f"{100 * fraction:.{0 if fraction in (0, 1) else 2 if fraction < 0.0095 else 1}f} %"


def _axes(ax: Axes | None) -> Axes:
    return panels()[1] if ax is None else ax


def _variable(result: xr.Dataset, name: str, of: str = "simulate") -> xr.DataArray:
    instance("result", result, xr.Dataset, f"what {of} returned")
    require(name in result, f'the Dataset has no variable "{name}": give one that {of} returned')
    return result[name]


def _grid(result: xr.Dataset) -> list[str]:
    instance("result", result, xr.Dataset, "what simulate returned")
    series = next((result[name] for name in ("loss_quantile", "diverged") if name in result), xr.DataArray(0.0))
    return [str(dim) for dim in series.dims if dim not in ("quantile", "time")]


def _single(label: str, result: xr.Dataset) -> xr.Dataset:
    grid = _grid(result)
    require(not grid, f'"{label}" has the grid dimension {", ".join(grid)}: choose one value with result.sel(...)')
    return result


def _curves(result: xr.Dataset, label: str | None, color: Any) -> list[Curve]:
    grid = _grid(result)
    require(len(grid) <= 1, f"the result has the grid dimensions {', '.join(grid)}: choose values with result.sel(...)")
    if not grid:
        return [Curve(label or "", result, color or CATEGORIES[0])]
    (dim,) = grid
    shades = graded(result.sizes[dim])
    start = f"{label}, " if label else ""
    names = [f"{start}{dim} = {_text(value)}" for value in result[dim].values]
    return [Curve(name, result.isel({dim: i}), color or shades[i]) for i, name in enumerate(names)]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)


def _times(result: xr.Dataset) -> np.ndarray:
    return np.asarray(result["time"].values)


def _quantiles(
    name: str, ylabel: str, curves: list[Curve], ax: Axes | None, log: bool, bands: Bands | None, log_time: bool
) -> Axes:
    alone, ax = ax is None, _axes(ax)
    bands = BANDS[len(curves) > 4 :] if bands is None else bands
    series = [_variable(curve.result, f"{name}_quantile").transpose("quantile", "time") for curve in curves]
    finite = np.concatenate([one.values[np.isfinite(one.values)] for one in series])
    log = log and bool(np.all(finite >= 0) and np.any(finite > 0))
    ceiling = max(_ceiling(one.values, log) for one in series)
    for curve, one in zip(curves, series):
        _bands(ax, curve, one, bands, ceiling, alpha=0.6 / (2 + len(curves)))
        _median(ax, curve, one, ceiling, log)
    if log:
        ax.set_yscale("log", nonpositive="clip")
    _frame(ax, ylabel, log_time, curves)
    if any(not np.all(one.values <= ceiling) for one in series):
        ax.set_ylim(top=ax.dataLim.y1, auto=True)
    shown = ", ".join(f"{100 * low:g}–{100 * high:g} %" for low, high in reversed(bands))
    infinite = any(np.isinf(_quantile(one, 0.5)).any() for one in series)
    median = "median (▲ once infinite)" if infinite else "median"
    return legend_of(ax, alone, f"{median}, bands {shown}" if bands else median)


def _ceiling(values: np.ndarray, log: bool) -> float:
    """The highest value worth showing: everything, unless a quantile is infinite."""
    finite = values[np.isfinite(values)]
    highest = float(finite.max()) if finite.size else 1.0
    start = values[:, 0][np.isfinite(values[:, 0])]
    if np.all(np.isfinite(values)) or not (start.size and start.max() > 0):
        return highest
    return min(highest, HEADROOM[log] * float(start.max()))


def _bands(ax: Axes, curve: Curve, series: xr.DataArray, bands: Any, ceiling: float, alpha: float) -> None:
    times = _times(curve.result)
    for low, high in bands:
        bottom, top = (np.minimum(_quantile(series, q), ceiling) for q in (low, high))
        ax.fill_between(times, bottom, top, color=curve.color, alpha=alpha, lw=0)


def _quantile(series: xr.DataArray, quantile: float) -> np.ndarray:
    values = series.sel(quantile=quantile, method="nearest", tolerance=1e-6).values.astype(float)
    return np.where(np.isnan(values), np.inf, values)


def _median(ax: Axes, curve: Curve, series: xr.DataArray, ceiling: float, log: bool) -> None:
    times, values = _times(curve.result), _quantile(series, 0.5)
    stop = int(np.argmax(np.isinf(values))) if np.isinf(values).any() else len(values)
    ax.plot(*_below(times, values, ceiling, log), color=curve.color, lw=1.8, label=_note(curve, stop))
    if stop < len(values):
        ax.plot(times[stop], ceiling, marker="^", ms=8, color=curve.color, mec="white", clip_on=False, zorder=5)


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


def _frame(ax: Axes, ylabel: str, log_time: bool, curves: list[Curve]) -> None:
    ax.set_xlabel("t = kη")
    ax.set_ylabel(ylabel)
    plain(ax)
    if log_time:
        positive = min(float(times[times > 0].min()) for times in map(_times, [c.result for c in curves]))
        ax.set_xscale("symlog", linthresh=positive, linscale=0.3, subs=range(2, 10))
        ax.set_xlim(left=0.0)
