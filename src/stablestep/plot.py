"""Pictures of what `simulate` returns: every function draws one thing and returns the matplotlib axes."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from stablestep.curves import (
    Curve,
    ceiling_of,
    curves_of,
    draw_bands,
    draw_median,
    quantile_of,
    settled,
    single,
    text_of,
    times_of,
    variable,
)
from stablestep.errors import numbers, require, shown
from stablestep.looks import CATEGORIES as CATEGORIES
from stablestep.looks import distinct, dress, graded, legend_of, percent, plain, plain_ticks, short_ticks

Bands = tuple[tuple[float, float], ...]
BANDS: Bands = ((0.05, 0.95), (0.25, 0.75))
DASHES = ("-", "-", (0, (1.5, 1.5)), "--", ":")


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
    return _quantiles("loss", "f(x)", curves_of(result, label, color), ax, log, bands, log_time)


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
    return _quantiles("gradient_norm", "‖∇f(x)‖", curves_of(result, label, color), ax, log, bands, log_time)


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
    curves = [single(str(label), one, color) for (label, one), color in zip(results.items(), colors)]
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
    variable(table, "loss_model", ("model", "time"), of="compare")
    table = settled(table)
    models = table["loss_model"].transpose("model", "time", ...)
    grid = ", ".join(map(str, models.dims[2:]))
    require(not grid, f"the table has the grid dimension {grid}: choose one value with table.sel(...)")
    mean, error = (variable(table, name).isel(model=0).values for name in ("loss_discrete", "loss_discrete_stderr"))
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
    curves = curves_of(result, label, color)
    fractions = [variable(curve.result, "diverged", ("time",)).values for curve in curves]
    for curve, fraction in zip(curves, fractions):
        text = ": ".join([curve.label] * bool(curve.label) + [percent(last) for last in fraction[-1:]])
        ax.plot(times_of(curve.result), fraction, color=curve.color, drawstyle="steps-post", label=text, lw=1.8)
    highest = float(np.concatenate(fractions).max())
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
    alone, ax, curves = ax is None, _axes(ax), curves_of(result, label, None)
    for curve in curves:
        both = (variable(curve.result, f"loss_{name}", ("time",)).values for name in ("mean", "stderr"))
        mean, error = (np.asarray(values, float) for values in both)
        keep = np.isfinite(mean)
        times = times_of(curve.result)[keep]
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
    beside = [str(dim) for dim in variable(result, "up", ("eta",)).dims if dim != "eta"]
    require(
        len(beside) == 1,
        f"the map has {beside} beside eta, but must have one parameter there: choose by result.isel(...)",
    )
    (name,) = beside
    variable(result, "predicted", ("predictor", name))
    places, result = _places(result, name)
    up, predicted = result["up"].transpose("eta", name), result["predicted"].transpose("predictor", name)
    shading: Any = "nearest" if min(up.shape) > 1 else "auto"
    ax.pcolormesh(places, up["eta"], up, cmap="Greys", vmin=0, vmax=1.25, shading=shading)
    # Dashes of different lengths: predictors often coincide.
    for line, color, dash in zip(predicted, distinct(len(predicted)), cycle(DASHES)):
        ax.plot(places, line, lw=2.2, ls=dash, color=color, label=str(line["predictor"].values))
    scale = "log" if places[0] > 0 and len(places) > 1 else "linear"
    ax.set(xlabel=name, ylabel="step η", yscale="log", xscale=scale)
    plain_ticks(ax.xaxis)
    if not _is_scale(result[name].values):
        ax.set_xticks(places, [text_of(value) for value in result[name].values])
    if up.sizes["eta"] > 1:
        ax.set_ylim(float(up["eta"].min()), float(up["eta"].max()))
    if legend:
        ax.legend(fontsize=9, framealpha=0.9)
    return ax


def _places(result: xr.Dataset, name: str) -> tuple[np.ndarray, xr.Dataset]:
    """Where the columns of a map stand, and the map in that order: what is no number stands at 0, 1, 2, …"""
    result = result.sortby("eta")
    if not _is_scale(result[name].values):
        return np.arange(result.sizes[name]), result
    result = result.sortby(name)
    return result[name].values, result


def _is_scale(values: np.ndarray) -> bool:
    return values.dtype.kind in "iuf" and bool(np.all(np.isfinite(values)))


def _axes(ax: Axes | None) -> Axes:
    return panels()[1] if ax is None else ax


def _quantiles(
    name: str, ylabel: str, curves: list[Curve], ax: Axes | None, log: bool, bands: Bands | None, log_time: bool
) -> Axes:
    alone, ax = ax is None, _axes(ax)
    bands = BANDS[len(curves) > 4 :] if bands is None else _pairs(bands)
    series = [variable(curve.result, f"{name}_quantile", ("quantile", "time")) for curve in curves]
    finite = np.concatenate([one.values[np.isfinite(one.values)] for one in series])
    log = log and bool(np.all(finite >= 0) and np.any(finite > 0))
    ceiling = max(ceiling_of(one.values, log) for one in series if one.size)
    for curve, one in zip(curves, series):
        draw_bands(ax, curve, one, bands, ceiling, alpha=0.6 / (2 + len(curves)))
        draw_median(ax, curve, one, ceiling, log)
    if log:
        ax.set_yscale("log", nonpositive="clip")
    _frame(ax, ylabel, log_time, curves)
    if any(not np.all(one.values <= ceiling) for one in series):
        ax.set_ylim(top=ax.dataLim.y1, auto=True)
    shown = ", ".join(f"{100 * low:g}–{100 * high:g} %" for low, high in reversed(bands))
    infinite = any(np.isinf(quantile_of(one, 0.5)).any() for one in series)
    median = "median (▲ once infinite)" if infinite else "median"
    return legend_of(ax, alone, f"{median}, bands {shown}" if bands else median)


def _pairs(bands: Any) -> Bands:
    pairs = numbers("bands", bands)
    require(
        pairs.size == 0 or (pairs.ndim == 2 and pairs.shape[1] == 2),
        f"bands is {shown(bands)}, but must list pairs of quantiles, such as [(0.05, 0.95)].",
    )
    return tuple((float(low), float(high)) for low, high in pairs)


def _frame(ax: Axes, ylabel: str, log_time: bool, curves: list[Curve]) -> None:
    ax.set_xlabel("t = kη")
    ax.set_ylabel(ylabel)
    plain(ax)
    short_ticks(ax.yaxis)
    times = np.concatenate([times_of(curve.result) for curve in curves])
    if log_time and np.any(times > 0):
        positive = float(times[times > 0].min())
        # From a power of ten on, so that its label has room beside that of 0.
        ax.set_xscale("symlog", linthresh=10.0 ** np.floor(np.log10(positive)), linscale=0.5, subs=range(2, 10))
        ax.set_xlim(left=0.0)
