"""Many runs of the discrete method, and what became of them."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import equinox as eqx
import numpy as np
from jaxtyping import Int

from stablestep.described import describe
from stablestep.errors import instance, require
from stablestep.later import xarray as xr
from stablestep.method import method
from stablestep.progress import Watch, Watched, watched
from stablestep.record import NAMES, Run, cast, dataset, look_at, provenance, recorded, working_dtype
from stablestep.schedule import Schedule
from stablestep.setup import Setup
from stablestep.vary import label, values_of, vary_all


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
    progress: Watched = True,
) -> "xr.Dataset":
    """Simulate the distributed method x ← x − ηη_t · (what the server makes of the mean message), t = kη.

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
        grid: parameter names and values: any argument of the schedule, agents, noise, compressor, server or problem, however deep; each
            becomes a dimension of the result. A path says which where several parts have one of that name (see `vary`): "agents.2.omega",
            "agents.all.omega", "server.beta", "schedule.power".
        progress: a bar in a terminal or a notebook, for what takes longer than a second; or a function of the finished fraction.

    Returns:
        A Dataset over `time` (with `iteration` beside it) and the grid: `loss_mean`, `loss_stderr`, `loss_mean_surviving`,
        `loss_quantile`, `gradient_norm_mean`, `gradient_norm_quantile`, `diverged` (fraction so far), `bits` (sent by all agents so
        far), `divergence_iteration` and `divergence_time` (of each run, NaN if none). "loss" is f(x); the attribute `minimum`
        is its infimum, if known. `time` is t = kη; along a grid of η it is that of each η, so that its dimension has no index.

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
    instance("setup", setup, Setup, "Setup(problem, Agents(4))")
    instance("schedule", schedule, Schedule, "schedule.Constant(0.1)")
    plan = Plan(steps, recorded(steps, record), sampling, dtype, Run(x0, runs, seed, observe, final, radius))
    if grid is not None:
        instance("grid", grid, Mapping, '{"omega": [8, 32]}')
    with watched("simulating", progress) as told:
        return _grid(setup, schedule, grid, plan, told) if grid else _simulate(setup, schedule, plan)


@dataclass(frozen=True)
class Plan:
    """What all points of a grid share."""

    steps: int
    iterations: Int[np.ndarray, " times"]
    sampling: str
    dtype: str
    run: Run


def _grid(setup: Setup, schedule: Schedule, grid: Mapping[str, Sequence], plan: Plan, told: Watch) -> "xr.Dataset":
    values = {name: values_of(name, grid[name]) for name in grid}
    for name in values:
        taken = name in NAMES or name in plan.run.watched
        require(
            not taken, f'"{name}" is a name in the grid and in the result; observe under another one, or use ss.sweep.'
        )
    points = [dict(zip(values, point)) for point in itertools.product(*values.values())]
    cases = [vary_all(setup, schedule, point) for point in points]  # all are checked before any runs
    results = []
    for index, (case, its_schedule) in enumerate(cases):
        told.part(index / len(cases), (index + 1) / len(cases))
        results.append(_simulate(case, its_schedule, plan).drop_vars(["time", "iteration"]))
    etas = np.reshape([float(its_schedule.eta) for _, its_schedule in cases], [len(row) for row in values.values()])
    times = _times(list(values), etas, plan.iterations)
    return _combine(values, results).assign_coords(iteration=("time", plan.iterations), time=times)


def _times(names: list[str], etas: np.ndarray, iterations: np.ndarray) -> tuple[list[str], np.ndarray, dict[str, str]]:
    """t = kη along the dimensions in which η differs; where it does, what the points share is the iteration."""
    for axis in reversed(range(etas.ndim)):
        if np.all(etas == etas.take([0], axis)):
            names, etas = names[:axis] + names[axis + 1 :], etas.take(0, axis)
    return [*names, "time"], etas[..., None] * iterations, {"long_name": "t = kη"}


def _combine(values: dict[str, list], results: list["xr.Dataset"]) -> "xr.Dataset":
    """The results, in the order of the points, along one dimension for each name; from the last one on."""
    for name, row in reversed(values.items()):
        axis = xr.DataArray([label(value) for value in row], dims=name, name=name)
        rows = [results[first : first + len(row)] for first in range(0, len(results), len(row))]
        # pyright takes the result for a DataTree, which only trees give.
        results = [
            xr.concat(row, axis, combine_attrs="drop_conflicts", join="exact", data_vars="all")  # pyright: ignore
            for row in rows
        ]
    return results[0]


def _simulate(setup: Setup, schedule: Schedule, plan: Plan) -> "xr.Dataset":
    unbound, run = method(setup, schedule, plan.sampling), plan.run
    with working_dtype(plan.dtype) as kind:
        points = run.points(setup.problem, kind)
        bound = schedule.bind(setup, float(look_at(cast(setup.problem, kind), np.asarray(points)[0])[2]))
        paths = run.paths(eqx.tree_at(lambda one: one.schedule, unbound, bound), points, plan.iterations)
    attrs = provenance(
        setup=describe(setup),
        schedule=describe(bound),
        **run.facts(points),
        steps=plan.steps,
        sampling=", ".join(unbound.law.methods_in(plan.dtype)),
        dtype=plan.dtype,
        minimum="unknown" if setup.problem.minimum is None else setup.problem.minimum,
        moments=_moments(setup),
    )
    found = dataset(paths, plan.iterations, float(schedule.eta), float(schedule.eta), attrs)
    found["bits"] = "time", plan.iterations * setup.bits
    return found


def _moments(setup: Setup) -> str:
    """Which moments one message has, as far as its noise says."""
    open_ended = [group.noise for group in setup.groups if not group.compressor.bounded and not group.noise.is_zero]
    if not all(noise.has_mean for noise in open_ended):
        return "the messages have no mean: read medians and quantiles, not means"
    if not all(noise.has_variance for noise in open_ended):
        return "the messages have no finite variance: read medians and quantiles, not means"
    return "one message has a mean and a variance"
