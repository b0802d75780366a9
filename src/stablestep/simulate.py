"""The discrete method: many runs of x ← x − ηη_t · (mean message), and what became of them."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from stablestep.errors import InvalidInput, nearest, require
from stablestep.message import Law, law
from stablestep.noise import StudentT
from stablestep.problem import Problem
from stablestep.record import (
    Process,
    ball_radius,
    cast,
    dataset,
    describe,
    describe_start,
    monte_carlo,
    provenance,
    recorded,
    start,
    working_dtype,
)
from stablestep.schedule import Schedule, Seen
from stablestep.setup import Setup, parameters, vary


class Method(Process):
    """One iteration of the distributed method that `law` and `schedule` describe."""

    problem: Problem
    law: Law
    schedule: Schedule
    eta: Float[Array, ""]  # the time step, apart from the schedule so that t = kη holds whatever the schedule calls it

    @property
    def coupled(self):
        return self.schedule.needs_ensemble

    def advance(self, stream, k, x):
        gradient, message, local_norm = self.law.draw(stream, x)
        seen = Seen(_norm(gradient), _norm(message), local_norm)
        time = k.astype(x.dtype) * self.eta
        return x - self.schedule.step(time, seen) * message


@eqx.filter_jit
def _first_gradient_norm(problem, point):
    return _norm(problem.gradient(point))


def _norm(vector):
    return jnp.sqrt(jnp.sum(vector * vector))


def simulate(
    setup: Setup,
    *,
    schedule: Schedule,
    x0,
    steps: int,
    runs: int = 100,
    seed: int = 0,
    sampling: str = "auto",
    record=None,
    observe: Callable | Mapping[str, Callable] | None = None,
    final: bool = False,
    radius: float | None = None,
    dtype: str = "float32",
    grid: Mapping[str, Sequence] | None = None,
    progress: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """Simulate the distributed method x ← x − ηη_t · (mean message), t = kη.

    Args:
        setup: the problem and its agents.
        schedule: η and η_t.
        x0: a number (for all coordinates), a vector of length d, or a function of a JAX key that draws a point for each run.
        steps, runs: iterations, and independent runs.
        seed: the same seed gives the same result, whatever the number of devices; the points of a grid share it.
        sampling: "auto", "law" or "agents", see `message.law`.
        record: which iterations are kept: None (all up to 200 steps, else 200 evenly spaced), "log", a number, or a list.
        observe: a function of x, or a dictionary of such; kept for each run and recorded time, NaN after divergence.
        final: keep `final_state` (runs × d).
        radius: a run whose ‖x‖ exceeds it, or that turns non-finite, has diverged: it is frozen, counted and timed. By default
            10⁴ max(1, ‖x0‖).
        dtype: "float32" or "float64".
        grid: parameter names and values: any argument of the schedule, agents, noise, compressor or problem; each becomes a
            dimension of the result.
        progress: called with the finished fraction.

    Returns:
        A Dataset over `time` (with `iteration` beside it) and the grid: `loss_mean`, `loss_stderr`, `loss_mean_surviving`,
        `loss_quantile`, `gradient_norm_mean`, `gradient_norm_quantile`, `diverged` (fraction so far), `bits` (sent by all agents so
        far), `divergence_iteration` and `divergence_time` (of each run, NaN if none). "loss" is f(x); the attribute `minimum`
        is its infimum, if known.

    Raises:
        InvalidInput: for anything out of range, in one sentence.

    >>> from stablestep import compressor, noise, problem, schedule
    >>> from stablestep.setup import Agents
    >>> agents = Agents(16, noise.Gaussian(sigma1=0.1), compressor.RandomSparsification(omega=8.0))
    >>> result = simulate(Setup(problem.Quartic(dim=10), agents), schedule=schedule.Constant(0.1), x0=0.5, steps=20, runs=50)
    >>> dict(result.sizes)
    {'time': 21, 'quantile': 5, 'run': 50}
    >>> float(result.diverged[-1])
    0.0
    """
    require(isinstance(setup, Setup), f"setup is {setup!r}, but must be a Setup(problem, Agents(…), …).")
    require(
        isinstance(schedule, Schedule),
        f"schedule is {schedule!r}, but must be a schedule, such as schedule.Constant(0.1).",
    )
    options: dict[str, Any] = {
        "x0": x0,
        "steps": steps,
        "runs": runs,
        "seed": seed,
        "sampling": sampling,
        "record": record,
    }
    options |= {"final": final, "radius": radius, "dtype": dtype}
    options["observe"] = {"observed": observe} if callable(observe) else dict(observe or {})
    if not grid:
        return _simulate(setup, schedule, progress=progress, **options)
    return _grid(setup, schedule, grid, progress, options)


def _grid(setup, schedule, grid, progress, options) -> xr.Dataset:
    names, values = list(grid), [list(grid[name]) for name in grid]
    for name, row in zip(names, values, strict=True):
        require(len(row) > 0, f'grid: "{name}" has no values; give at least one.')
    points = list(itertools.product(*values))
    cases = [
        _at(setup, schedule, dict(zip(names, point, strict=True))) for point in points
    ]  # all are checked before any runs
    results = []
    for index, (case, its_schedule) in enumerate(cases):
        part = None if progress is None else lambda done, index=index: progress((index + done) / len(cases))
        found = _simulate(case, its_schedule, progress=part, **options)
        # Times differ along η; the iteration is what the points of a grid share.
        found = found.assign_coords(time=found.iteration.values) if "eta" in names or "eta0" in names else found
        results.append(found.drop_vars("iteration"))
    return _combine(names, values, points, results, recorded(options["steps"], options["record"]))


def _combine(names, values, points, results, iterations) -> xr.Dataset:
    index = {tuple(point): result for point, result in zip(points, results, strict=True)}

    def nest(prefix):
        if len(prefix) == len(names):
            return index[prefix]
        axis = xr.DataArray(values[len(prefix)], dims=names[len(prefix)], name=names[len(prefix)])
        parts = [nest((*prefix, value)) for value in values[len(prefix)]]
        return xr.concat(parts, axis, combine_attrs="drop_conflicts", join="exact", data_vars="all")

    combined = nest(())
    combined = combined.assign_coords(iteration=("time", iterations))
    if "eta" in names or "eta0" in names:
        combined["time"].attrs["long_name"] = "iteration k (t = kη differs along eta)"
    return combined


def _at(setup: Setup, schedule: Schedule, point: dict) -> tuple[Setup, Schedule]:
    for name, value in point.items():
        arguments = parameters(schedule)
        if name in arguments:
            schedule = type(schedule)(**{**arguments, name: value})
            continue
        try:
            setup = vary(setup, name, value)
        except InvalidInput as error:
            if "nothing in the setup" not in str(error):
                raise
            raise InvalidInput(
                f"{str(error)[:-1]}, and of the schedule: {', '.join(arguments)}. {nearest(name, arguments)}"
            ) from error
    return setup, schedule


def _simulate(
    setup, schedule, *, x0, steps, runs, seed, sampling, record, final, radius, dtype, observe, progress
) -> xr.Dataset:
    if schedule.needs_agents:
        require(
            sampling != "law",
            f"{type(schedule).__name__} needs each agent's own norm; use sampling='agents' or 'auto'.",
        )
        sampling = "agents"
    messages = law(setup, sampling)
    iterations = recorded(steps, record)
    with working_dtype(dtype) as kind:
        problem = cast(setup.problem, kind)
        points = start(x0, problem, runs, seed, kind)
        gradient_norm = float(_first_gradient_norm(problem, np.asarray(points)[0]))
        bound = schedule.bind(setup, gradient_norm)
        ball = ball_radius(radius, points)
        method = cast(Method(setup.problem, messages, bound, schedule.eta), kind)
        paths = monte_carlo(method, points, iterations, seed, ball, observe, progress, keep_final=final)
    attrs = provenance(
        setup=describe(setup),
        schedule=describe(bound),
        x0=describe_start(x0),
        seed=seed,
        runs=runs,
        steps=steps,
        radius=ball,
        sampling=", ".join(messages.methods),
        dtype=dtype,
        minimum="unknown" if setup.problem.minimum is None else setup.problem.minimum,
        moments=_moments(setup),
    )
    found = dataset(paths, iterations, float(schedule.eta), float(schedule.eta), attrs)
    found["bits"] = "time", iterations * setup.bits
    return found


def _moments(setup: Setup) -> str:
    unbounded = any(
        isinstance(g.noise, StudentT) and not g.noise.has_variance and g.compressor.unbiased for g in setup.groups
    )
    if unbounded:
        return "the messages have no finite variance: read medians and quantiles, not means"
    return "all moments of one message exist"
