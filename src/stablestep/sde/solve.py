"""Integrate a continuous model: many paths at once, with explosions counted and the integration error measured."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import numpy as np

from stablestep.described import describe
from stablestep.errors import flag, instance, nearest, one_of, require, shown
from stablestep.progress import Watch, Watched, watched
from stablestep.record import Paths, Run, cast, dataset, monte_carlo, provenance, recorded, working_dtype
from stablestep.sde.check import require_start, steps_of
from stablestep.sde.continuous import Continuous
from stablestep.sde.euler import Coupled, Euler
from stablestep.sde.exact import exact_paths
from stablestep.sde.model import Model
from stablestep.sde.ode import ode_paths

if TYPE_CHECKING:
    import xarray as xr

STARTS = ("shifted", "given")
_ERROR_RUNS = 256


def integrate(
    model: Continuous,
    *,
    x0,
    time: float,
    dt: float | None = None,
    runs: int = 100,
    seed: int = 0,
    method: str | None = None,
    start: str | None = None,
    record=None,
    observe: Callable | Mapping[str, Callable] | None = None,
    final: bool = False,
    radius: float | None = None,
    dtype: str = "float32",
    error: bool = True,
    progress: Watched = True,
) -> "xr.Dataset":
    """Integrate dX = drift dt + diffusion dW over [0, time], t = kη (with memory kη_e), for an optimizer that starts at x0.

    Args:
        model: from `sde.model`.
        start: "shifted" starts the model at `model.start(x0)`, which a memory that starts at 0 needs (the default of "first" and
            "classic"; without memory, or with a warm one, it is x0), "given" at x0 (the default of the others). From the wrong start
            "classic" is of first order, and worse than "first" from the right one.
        dt: the integrator's step, a sixteenth of an iteration by default (η/16) and at most one (adjusted so that whole steps reach
            `time`). At dt = η,
            Euler-Maruyama of the first-order model is the optimizer with Gaussian messages.
        method: "euler" (Euler-Maruyama, the default), "tamed" (its drift step divided by 1 + dt‖drift‖, for drifts that grow
            faster than linearly), "exact" (Ornstein-Uhlenbeck: quadratics with additive noise), or "ode" (models without noise, by
            diffrax's Tsit5 with error control, in float64; the default of the principal flow).
        error: whether to measure the integration error; without it `integration_error` is NaN.
        x0, runs, seed, record, observe, final, radius, dtype, progress: as in `simulate`; `record` counts steps of dt.

    Returns:
        The Dataset of `simulate` (without `bits`), with `integration_error` = 2 E[f at dt − f at dt/2], measured on pairs of paths
        that share their Brownian motion, and `integration_error_stderr`; both 0 for "exact" and "ode".

    Raises:
        InvalidInput: for dt ≤ 0 or > η, an unknown method, or one that does not fit the model.

    >>> from stablestep import noise, problem, schedule, sde
    >>> from stablestep.setup import Agents, Setup
    >>> setup = Setup(problem.Quadratic([1.0]), Agents(1, noise.Gaussian(sigma0=1.0)))
    >>> model = sde.model(setup, "new", schedule.Constant(0.1))
    >>> paths = integrate(model, x0=1.0, time=20.0, runs=20_000, method="exact")
    >>> abs(float(paths.loss_mean[-1]) - 0.1 / (2 * (2 - 0.1))) < 2e-3     # the stationary loss η/(2(2−η))
    True
    """
    instance("model", model, Continuous, "sde.model(setup, kind, schedule)")
    start, method, error = start_of(model, start), _method_of(model, method, observe), flag("error", error)
    run, tick = Run(x0, runs, seed, observe, final, radius), float(model.tick)
    steps, step = steps_of(time, dt, tick)
    marks = recorded(steps, record)
    with working_dtype("float64" if method in WITHOUT_STEPS else dtype) as kind:
        points = run.points(model.problem, kind)
        require_start(model, points)
        points = _moved(cast(model, kind), points) if start == "shifted" else points
        with watched("integrating", progress) as told:
            told.part(0.0, 0.5 if error else 1.0)
            paths, wrong = SOLVERS[method](model, run, points, marks, step, error, told)
    attrs = provenance(
        model=model.kind,
        form=model.form,
        method=method,
        dt=step,
        eta=model.eta,
        eta_effective=model.eta_effective,
        start=start,
        law=describe(model.law),
        schedule=describe(model.schedule),
        **run.facts(points),
        minimum="unknown" if model.problem.minimum is None else model.problem.minimum,
    )
    found = dataset(paths, marks, step, tick, attrs)
    if model.memory.delay:
        found["time"].attrs["long_name"] = "t = k√η" if model.kind == "underdamped-b" else "t = kη_e"
    return found.assign(integration_error=("time", wrong[0]), integration_error_stderr=("time", wrong[1]))


def start_of(model: Continuous, start: str | None) -> str:
    """Which start a model takes: "shifted" by default for the models of a slow path, "first" and "classic"."""
    by_default = "shifted" if model.kind in ("first", "classic") else "given"
    return one_of("start", by_default if start is None else start, STARTS)


def _method_of(model: Continuous, method: str | None, observe) -> str:
    """The method, by default that of the model, if it fits."""
    method = ("ode" if model.kind == "principal" else "euler") if method is None else method
    known = isinstance(method, str) and method in SOLVERS
    require(known, f"there is no method {shown(str(method))}. {nearest(str(method), SOLVERS)}")
    require(
        model.kind != "principal" or method == "ode",
        'the principal flow is complex and is integrated by method="ode" only.',
    )
    require(
        isinstance(model, Model) or method not in WITHOUT_STEPS,
        f'method="{method}" is not for the pair of a point and a momentum; use "euler" or "tamed".',
    )
    require(
        observe is None or method not in WITHOUT_STEPS, f'observe is not available with method="{method}"; use "euler".'
    )
    return method


def _by_euler(model: Continuous, run: Run, points, marks, step: float, error: bool, told: Watch, tamed: bool = False):
    euler = Euler(model.problem, model, step, tamed)
    paths = run.paths(euler, points, marks)
    told.part(0.5, 1.0)
    unknown = np.full((2, len(marks)), np.nan)
    return paths, _error(euler, points, marks, run) if error else unknown


def _by_exact(model: Continuous, run: Run, points, marks, step: float, error: bool, told: Watch):
    return _in_steps(exact_paths(model, points, marks * step, run.seed, run.ball(points)), step), np.zeros(
        (2, len(marks))
    )


def _by_ode(model: Continuous, run: Run, points, marks, step: float, error: bool, told: Watch):
    return _in_steps(ode_paths(model, points, marks * step, run.ball(points)), step), np.zeros((2, len(marks)))


SOLVERS = {"euler": _by_euler, "tamed": partial(_by_euler, tamed=True), "exact": _by_exact, "ode": _by_ode}
WITHOUT_STEPS = ("exact", "ode")


@eqx.filter_jit
def _moved(model: Continuous, points):
    return jax.vmap(model.start)(points)


def _in_steps(paths: Paths, step: float) -> Paths:
    """Divergence is counted in steps; these methods find its time."""
    return replace(paths, diverged_at=np.where(paths.diverged_at >= 0, paths.diverged_at / step, -1.0))


def _error(euler: Euler, points, marks, run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Twice the mean loss at dt minus that at dt/2 (the weak error of Euler-Maruyama is of first order), from coupled paths."""
    some = points[: min(len(points), _ERROR_RUNS)]
    coupled = cast(Coupled(euler.problem, euler), points.dtype)
    paths = monte_carlo(coupled, some, marks, (run.seed + 1) % 2**64, run.ball(points) * 2**0.5)
    gone = (paths.diverged_at[:, None] >= 0) & (paths.diverged_at[:, None] <= marks)
    with np.errstate(over="ignore", invalid="ignore"):
        twice = 2 * np.where(gone, np.nan, paths.loss.astype(float) - paths.observed["fine"])
        spread = np.std(twice, axis=0, ddof=1) if len(some) > 1 else np.zeros(len(marks))
        return np.mean(twice, axis=0), spread / np.sqrt(len(some))
