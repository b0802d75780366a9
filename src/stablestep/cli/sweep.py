"""`stablestep sweep`."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stablestep.cli import screen
from stablestep.cli.app import command, fail

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import xarray as xr
    from rich.table import Table

    from stablestep.spec import Spec
    from stablestep.sweep import Plan

MOST_READ = 1000  # points, for a table
MOST_SAID = 3  # reasons
FUNCTIONS = ("simulate", "critical", "limits", "moments")


@command(
    "stablestep sweep spec.toml --store sweep",
    "stablestep sweep spec.toml --store sweep --of critical --method moments --jobs 4",
    "stablestep sweep spec.toml --store sweep --scheduler tcp://10.0.0.1:8786",
    more="\n\nwhere spec.toml has a \\[grid], for instance:\n\n  grid = { omega = \\[0, 8, 32], count = \\[1, 4, 16] }\n\n"
    'and what is there already is not computed again. In Python, stablestep.sweep.load("sweep") gives all of it.',
)
def sweep(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.toml", help=r"What is computed, and a \[grid] of it.")],
    store: Annotated[Path, typer.Option("--store", metavar="DIR", help="Where the points are kept.")],
    of: Annotated[str, typer.Option("--of", help=f"{', '.join(FUNCTIONS[:-1])} or {FUNCTIONS[-1]}.")] = "simulate",
    method: Annotated[str | None, typer.Option("--method", help="Of critical.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="In how many processes here.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", metavar="tcp://…", help="Of a Dask cluster, whose workers compute.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many points, how long and how much memory.")
    ] = False,
) -> None:
    """Compute every point of a spec's grid, in parallel, and go on where an earlier run was stopped."""
    from stablestep.errors import require
    from stablestep.spec import load
    from stablestep.sweep import NotFinished
    from stablestep.sweep import sweep as swept

    described = load(spec, to_run=of in ("simulate", "moments"))
    grid = described.run.pop("grid", None)
    require(grid, f"{spec}: there is no [grid], whose points are computed; add one.")
    function, arguments = _asked(of, method, described)
    console = screen.console()
    if dry_run:
        plan = swept.plan(function, described.setup, grid, store=store, **arguments)
        console.print(_words(plan, jobs), highlight=False, markup=False, soft_wrap=True)
        return
    try:
        with _executor(jobs, scheduler) as executor:
            found = swept(function, described.setup, grid, store=store, executor=executor, **arguments)
    except NotFinished as stopped:
        fail(f"{str(stopped)[0].upper()}{str(stopped)[1:]}", 1)
    except KeyboardInterrupt:
        fail(f'Interrupted: finished points are kept in "{store}", and the same command goes on from there.', 130)
    reasons = _reasons(found)
    count, refused = found.attrs["points"], reasons.total()
    if refused == count:
        which = f"All {count} points were" if count > 1 else "The only point was"
        fail(f"{which} refused: {_listed(reasons)}", 2)
    if count <= MOST_READ:
        console.print(_table(found, grid))
    are = "point is" if found.attrs["finished"] == 1 else "points are"
    told = f"{found.attrs['finished']} {are} in {store}" + (
        f", {refused} of them refused: {_listed(reasons)}" if refused else "."
    )
    console.print(told, soft_wrap=True, highlight=False, markup=False)


def _reasons(found: "xr.Dataset") -> Counter[str]:
    """Why points were refused, and how many for each reason."""
    return Counter(words for words in found["failure"].values.flat if words) if "failure" in found else Counter()


def _listed(reasons: Counter[str]) -> str:
    """The most frequent reasons in one line."""
    listed = [words if len(reasons) == 1 else f"({count}) {words}" for words, count in reasons.most_common(MOST_SAID)]
    more = len(reasons) - len(listed)
    return " ".join([*listed, f"And {more} other reasons." if more else ""]).strip()


def _asked(of: str, method: str | None, described: "Spec") -> tuple[Any, dict[str, Any]]:
    """The function and its arguments."""
    from stablestep.errors import InvalidInput, nearest, one_of, require
    from stablestep.message import moments
    from stablestep.schedule import Constant
    from stablestep.simulate import simulate
    from stablestep.stability import METHODS, advise, critical_step

    one_of("--of", of, FUNCTIONS)
    require(method is None or of == "critical", f"--method is of critical, but --of is {of}; leave one of them out.")
    known = method is None or method in METHODS
    require(known, f'--method is "{method}", but there is none of that name. {nearest(str(method), METHODS)}')
    run = described.run
    start = {"x0": run["x0"], "seed": run.get("seed", 0)}
    match of:
        case "simulate":
            return simulate, {**run, "schedule": described.schedule}
        case "critical":
            return critical_step, {**start, "method": method or "rollouts"}
        case "limits":
            return advise, start
    if not isinstance(described.schedule, Constant):
        raise InvalidInput(
            'the moments are those of a constant step; write schedule = { type = "Constant", eta = ... }.'
        )
    return moments, {"eta": float(described.schedule.eta), "x0": run["x0"], "steps": run["steps"]}


@contextmanager
def _executor(jobs: int, scheduler: str | None) -> "Iterator[Executor | None]":
    """What computes: this process, several, or a cluster."""
    from stablestep.sweep.workers import processes, stop

    if scheduler is not None:
        with _client(scheduler) as client:
            yield client.get_executor(pure=False)
    elif jobs == 1:
        yield None
    else:
        executor = processes(jobs)
        try:
            yield executor
        finally:
            stop(executor)


def _client(scheduler: str) -> Any:
    from stablestep.errors import InvalidInput

    try:
        from distributed import Client
    except ImportError as error:
        raise InvalidInput(
            "--scheduler needs Dask, which is not installed: pip install 'stablestep[cluster]'."
        ) from error
    try:
        return Client(scheduler, timeout="10s")
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInput(
            f'no Dask scheduler answers at "{scheduler}"; start one there, or correct the address.'
        ) from error


def _words(plan: "Plan", jobs: int) -> str:
    """The plan in sentences."""
    left = plan.points - plan.finished
    hours = plan.hours(jobs)
    time = f"{hours:.2g} hours" if hours >= 1 else f"{3600 * hours:.2g} seconds"
    workers = "one process" if jobs == 1 else f"{jobs} processes"
    return (
        f"{plan.points} points, {plan.finished} of them finished: {left} take about {time} in {workers} "
        f"({plan.first:.2g} s for the first, {plan.seconds:.2g} s for each other), {plan.size * plan.points / 1e6:.2g} MB on disk "
        f"and {plan.memory / 1e6:.0f} MB of memory in each process."
    )


def _table(found: "xr.Dataset", dims: Collection[str]) -> "Table":
    """The spread over the points of every number that differs between them, or the numbers where none does."""
    import numpy as np
    from rich.table import Table

    from stablestep.report import number

    def written(value: float) -> str:
        return number(float(f"{value:.4g}"))

    numbers = {name: values for name, values in _numbers(found, dims).items() if not np.isnan(values).all()}
    differing = {name: values for name, values in numbers.items() if np.nanmin(values) < np.nanmax(values)}
    if not differing:
        table = Table("found", "value", "missing", box=None, pad_edge=False)
        for name, values in numbers.items():
            table.add_row(name, written(np.nanmin(values)), str(np.isnan(values).sum()))
        return table
    table = Table("found", "smallest", "median", "largest", "missing", box=None, pad_edge=False)
    for name, values in differing.items():
        spread = (summary(values[~np.isnan(values)]) for summary in (np.min, np.median, np.max))
        table.add_row(name, *map(written, spread), str(np.isnan(values).sum()))
    return table


def _numbers(found: "xr.Dataset", dims: Collection[str]) -> dict[str, Any]:
    """Every number of all points, at the last time of each where there are several."""
    last = found.isel(time=_end(found)) if "time" in found.dims else found
    return {
        str(name): variable.values.ravel().astype(float)
        for name, variable in last.data_vars.items()
        if variable.dtype.kind in "iuf" and set(variable.dims) <= set(dims)
    }


def _end(found: "xr.Dataset") -> Any:
    """The place of the last time: where runs are of different lengths, that of each point."""
    if "time_of_point" not in found:
        return -1
    there = found["time_of_point"].notnull()
    return found.sizes["time"] - 1 - there.isel(time=slice(None, None, -1)).argmax("time")
