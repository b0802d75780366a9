"""The gap between the optimizer and a model, split into Monte Carlo, integration and model error."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from stablestep.described import describe
from stablestep.errors import instance, listed, nearest, positive, require, whole
from stablestep.later import xarray as xr
from stablestep.progress import Watched, watched
from stablestep.record import provenance, recorded
from stablestep.schedule import Schedule
from stablestep.sde import integrate, model
from stablestep.sde.memory import linear_memory
from stablestep.sde.model import KINDS
from stablestep.sde.signum import is_signum
from stablestep.setup import Setup
from stablestep.simulate import simulate

_Z = 1.96  # half width of a 95 % interval in standard errors
_KINDS = tuple(kind for kind in KINDS if kind != "principal")


def compare(
    setup: Setup,
    *,
    schedule: Schedule,
    models: Sequence[str] = ("first", "classic", "new"),
    x0,
    time: float,
    runs: int = 1000,
    seed: int = 0,
    substeps: int = 16,
    form: str = "corrected",
    record=None,
    radius: float | None = None,
    dtype: str = "float32",
    progress: Watched = True,
) -> "xr.Dataset":
    """The mean loss of the optimizer and of continuous models at the same times, and where they differ.

    gap = E f(model) − E f(optimizer) is what is measured; `integration_error` is the model's own error of integration (by halving
    dt); `model_error` = gap − integration_error is what is left for the model. Each comes with a 95 % interval.

    Args:
        models: names as in `sde.model`; a memory's models start where `integrate` starts them by default.
        time: the horizon; t = kη (with a linear memory kη_e).
        substeps: how many dt make one iteration. One makes the first-order model the optimizer with Gaussian messages, and proves nothing.
        form, record, radius, dtype, progress: as in `sde.model` and `simulate`.

    Returns:
        A Dataset over (model, time): `loss_discrete`, `loss_model`, `gap`, `monte_carlo_error` (the half width from sampling alone),
        `integration_error`, `model_error`, with `_low` and `_high` for the last three, and `diverged_discrete`, `diverged_model`.

    Raises:
        InvalidInput: for an unknown model or substeps < 2, and as `sde.model` and `simulate`.

    >>> from stablestep import noise, problem, schedule
    >>> from stablestep.setup import Agents
    >>> setup = Setup(problem.Quadratic([1.0]), Agents(1, noise.Gaussian(sigma0=1.0)))
    >>> table = compare(setup, schedule=schedule.Constant(0.1), models=["first", "new"], x0=1.0, time=1.0, runs=200)
    >>> dict(table.sizes)
    {'model': 2, 'time': 11}
    """
    models = listed("models", models, "first")
    _require_known(models)
    substeps = whole("substeps", substeps, least=2, hint="; 16 is usual")
    instance("setup", setup, Setup, "Setup(problem, Agents(4))")
    instance("schedule", schedule, Schedule, "schedule.Constant(0.1)")
    time = positive("time", time)
    tick = tick_of(setup, schedule)
    steps = max(1, round(time / tick))
    marks = recorded(steps, record)
    common: dict[str, Any] = dict(x0=x0, runs=runs, radius=radius, dtype=dtype)
    with watched("comparing", progress) as told:
        told.part(0.0, 1 / (1 + len(models)))
        discrete = simulate(setup, schedule=schedule, steps=steps, record=marks, seed=seed, **common)
        discrete = discrete.assign_coords(time=discrete.iteration.values * tick)
        start = float(discrete.gradient_norm_mean[0])

        def row(place: int, name: str) -> "xr.Dataset":
            told.part(place / (1 + len(models)), (place + 1) / (1 + len(models)))
            built = model(setup, name, schedule, form=form, gradient_norm=start)
            own_tick = float(built.tick)
            times = dict(time=steps * own_tick, dt=own_tick / substeps, record=marks * substeps)
            path = integrate(built, **times, seed=seed + place, **common)
            _warn_where_unknown(name, path, substeps)
            return _row(path.isel(time=np.isin(path.iteration.values.round(6), marks)), discrete)

        rows = [row(place, name) for place, name in enumerate(models, start=1)]
    table = xr.concat(rows, xr.DataArray(models, dims="model", name="model"))
    described: dict[str, Any] = dict(setup=describe(setup), schedule=describe(schedule), form=form, steps=steps)
    return table.assign_attrs(provenance(**described, seed=seed, runs=runs, substeps=substeps))


def tick_of(setup: Setup, schedule: Schedule) -> float:
    """η_e, the time of one iteration."""
    linear = setup.memory is not None and not is_signum(setup)
    return float(schedule.eta * (linear_memory(setup)[1].gain if linear else 1))


def _require_known(models: Sequence[str]) -> None:
    require(len(models) > 0, "models is empty; name at least one.")
    for name in models:
        require(name in _KINDS, f'there is no model "{name}" to compare with. {nearest(str(name), _KINDS)}')


def _warn_where_unknown(name: str, path: "xr.Dataset", substeps: int) -> None:
    """One pair of paths that diverges leaves no integration error, though no path of the run itself did."""
    unknown = np.isnan(path.integration_error.values) & np.isfinite(path.loss_mean.values)
    if unknown.any():
        begin = float(path.time.values[unknown.argmax()])
        warnings.warn(
            f'some of the pairs of paths that measure the integration error of "{name}" diverge, so that it and the model error are '
            f"unknown (NaN) from t = {begin:.4g} on; give more than {substeps} substeps, or a shorter time.",
            stacklevel=3,
        )


def _row(path: "xr.Dataset", discrete: "xr.Dataset") -> "xr.Dataset":
    """The columns of one model; means that are infinite on both sides leave no gap to speak of."""
    with np.errstate(invalid="ignore"):
        gap = path.loss_mean.values - discrete.loss_mean.values
        integration, integration_stderr = path.integration_error.values, path.integration_error_stderr.values
        sampling = np.hypot(path.loss_stderr.values, discrete.loss_stderr.values)
        columns = {
            "loss_discrete": discrete.loss_mean.values,
            "loss_discrete_stderr": discrete.loss_stderr.values,
            "loss_model": path.loss_mean.values,
            "loss_model_stderr": path.loss_stderr.values,
            "monte_carlo_error": _Z * sampling,
            "diverged_discrete": discrete.diverged.values,
            "diverged_model": path.diverged.values,
            **_interval("gap", gap, sampling),
            **_interval("integration_error", integration, integration_stderr),
            **_interval("model_error", gap - integration, np.hypot(sampling, integration_stderr)),
        }
    coordinates = {"time": discrete.time.values, "iteration": ("time", discrete.iteration.values)}
    return xr.Dataset({name: ("time", column) for name, column in columns.items()}, coordinates)


def _interval(name: str, value: Any, stderr: Any) -> dict[str, Any]:
    return {name: value, f"{name}_low": value - _Z * stderr, f"{name}_high": value + _Z * stderr}
