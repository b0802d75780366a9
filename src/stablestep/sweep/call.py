"""`sweep`: a function of a setup over many points, kept in a store."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from stablestep.described import describe
from stablestep.errors import require, shown
from stablestep.progress import Watched, watched
from stablestep.setup import Setup
from stablestep.sweep.compute import compute, runner_of
from stablestep.sweep.digest import digest
from stablestep.sweep.grid import Points, called, check, points_of
from stablestep.sweep.plan import Plan, measured
from stablestep.sweep.run import Serial
from stablestep.sweep.store import Folder, Memory, Store
from stablestep.sweep.task import Work, versions
from stablestep.sweep.workers import processes

if TYPE_CHECKING:
    import xarray as xr


class Sweep:
    """`sweep(function, setup, grid, store=…)` computes, `sweep.load(store)` reads, `sweep.plan(…)` says how long it takes."""

    processes = staticmethod(processes)

    def __call__(
        self,
        function: Callable,
        setup: Setup,
        grid: Mapping[str, Sequence] | Sequence[Mapping[str, Any]],
        *,
        store: str | PathLike | None,
        executor: Executor | None = None,
        progress: Watched = True,
        **arguments: Any,
    ) -> "xr.Dataset":
        """function(setup, **arguments) at every point; what the store has already is not computed again.

        A point is kept under a digest of what it computes: the function (one's own with its code), the setup, the arguments (seed
        included), the versions of stablestep, JAX and NumPy. So a sweep that was stopped, however, goes on where it was, a larger grid
        takes over what it shares with a smaller one, and the same call twice computes nothing. Several sweeps may share a store at the
        same time: each looks before it starts a point, and begins at a place of its own; what two happen to compute at once is the same.

        Args:
            function: of a setup: `simulate`, `stability.critical_step`, `stability.advise`, `message.moments` or one's own, returning a
                number, an array, a mapping of those, a dataclass or a Dataset.
            grid: lists of values by name, or a list of points, {name: value}. A name is an argument of the function, such as "x0" or
                "seed", or a parameter of the setup or of the argument `schedule`, as for `vary`: "omega", "agents.2.omega",
                "server.beta", "schedule.power".
            store: a folder, made where it is missing; with None nothing is kept.
            executor: of `concurrent.futures`: `sweep.processes(4)`, Dask's `Client(…).get_executor()`, MPI's …; by default this process
                computes one point after another.
            progress: a bar in a terminal or a notebook, or a function of the finished fraction.
            arguments: of the function, the same at all points.

        Returns:
            The merged Dataset, as `load` gives it. A point that the function refuses (`InvalidInput`) is NaN, and `failure` says why.

        Raises:
            InvalidInput: for what cannot be right, before anything is computed: a store of another function or version, a name that
                nothing has, a function that cannot be sent to the executor's processes, an executor that is shut down.
            NotFinished: if points failed by another error, which stops no other point, or the executor lost its workers.
            NotWritten: if the disk is full. Whatever happens, finished points are kept.

        >>> from stablestep import problem, stability
        >>> from stablestep.setup import Agents
        >>> setup = Setup(problem.Quadratic([1.0, 4.0]), Agents(1))
        >>> found = sweep(stability.critical_step, setup, {"sigma1": [0.0, 1.0]}, x0=1.0, method="moments", store=None)
        >>> found.step.values.round(6).tolist(), found.status.values.tolist()
        ([0.5, 0.232408], ['exact', 'exact'])
        """
        points = points_of(grid)
        work, place = _work(function, setup, points, arguments), _place(store)
        runner = runner_of(Serial() if executor is None else executor, work)
        keys, facts = _keys(work, points, place), _facts(work, points)
        if isinstance(place, Folder):
            place.open(work.facts)
            place.describe(digest(facts, keys).hex()[:12], facts, keys)
        with watched("sweeping", progress) as told:
            compute(runner, place, points, keys, told)
        return _merged(place, facts, keys)

    def load(self, store: str | PathLike, sweep: str | None = None) -> "xr.Dataset":
        """What is finished of a sweep, also while it runs: numbers are read from the store when they are asked for.

        Args:
            sweep: its name, where the store has several; the refusal without it lists them.

        Raises:
            InvalidInput: if there is no sweep, or several and no name.
        """
        place = _place(store)
        require(isinstance(place, Folder), "store is None, but must be the folder of a sweep.")
        assert isinstance(place, Folder)
        return _merged(place, *place.described(sweep))

    def plan(
        self,
        function: Callable,
        setup: Setup,
        grid: Mapping[str, Sequence] | Sequence[Mapping[str, Any]],
        *,
        store: str | PathLike | None = None,
        **arguments: Any,
    ) -> Plan:
        """How many points a sweep has, how long they take and how much they need; two are computed for it, and not kept."""
        points = points_of(grid)
        work, place = _work(function, setup, points, arguments), _place(store)
        keys = {key: number for number, key in enumerate(_keys(work, points, place))}
        return measured(work, points, keys, place.finished().keys())


def _work(function: Any, setup: Any, points: Points, arguments: Mapping[str, Any]) -> Work:
    check(function, setup, points, arguments)
    return Work(function, setup, arguments, bool(jax.config.jax_enable_x64), versions())  # pyright: ignore[reportAttributeAccessIssue]


def _keys(work: Work, points: Points, place: Store) -> list[str]:
    """What points are kept under; where nothing is kept, their numbers do, and nobody need tell what they compute."""
    if isinstance(place, Folder):
        return [work.key(points[number]) for number in range(len(points))]
    for number in range(len(points)):
        work.at(points[number])
    return [f"{number:032x}" for number in range(len(points))]


def _place(store: Any) -> Store:
    if store is None:
        return Memory()
    require(isinstance(store, str | PathLike), f"store is {shown(store)}, but must be a folder, or None.")
    return Folder(Path(store))


def _facts(work: Work, points: Points) -> dict[str, Any]:
    """What load needs to know, and what a reader wants to."""
    attributes = {f"argument_{name}": describe(value) for name, value in sorted(work.arguments.items())}
    attributes |= {"function": called(work.function), "setup": describe(work.setup)}
    return {
        "function": called(work.function),
        "names": list(points.names),
        "count": len(points),
        "dims": list(points.dims),
        "shape": list(points.shape),
        "labels": points.labels,
        "attributes": attributes | {f"version_{name}": version for name, version in work.versions.items()},
    }


def _merged(place: Store, facts: Mapping[str, Any], keys: list[str]) -> "xr.Dataset":
    from stablestep.sweep.merged import Cells, merged  # slow to load

    frames = place.finished()
    own = {key: frames[key] for key in keys if key in frames}
    cells = Cells(place, keys, tuple(facts["dims"]), tuple(facts["shape"]), own)
    count = sum(key in own for key in keys)
    return merged(cells, facts["labels"], {**facts["attributes"], "points": len(keys), "finished": count})


sweep = Sweep()
