"""python -m benchmarks.frontier: bytes to a target."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.frontier import protocol, record, table
from benchmarks.frontier.dense import REFERENCE
from benchmarks.frontier.entrant import Entrant
from benchmarks.frontier.entrants import ENTRANTS
from benchmarks.frontier.pool import WORKERS, Failed, Pool
from benchmarks.frontier.protocol import Found
from benchmarks.frontier.score import Score, mean_curve, score
from benchmarks.frontier.store import Store, key
from benchmarks.frontier.tasks import TASKS, Task, task
from benchmarks.frontier.train import Cell

ROOT = Path(__file__).parents[2]
QUICK_TASKS = ("digits", "names")
Plan = tuple[Task, Entrant]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
console = Console()


@app.command()
def main(
    quick: Annotated[bool, typer.Option("--quick", help="Two tasks, few entrants, three seeds: ten minutes.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Tasks and entrants to run; may be repeated.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Groups of four workers at a time; one needs two cores.")] = 1,
    store: Annotated[Path, typer.Option(help="Runs that need not be repeated.")] = ROOT
    / "build"
    / "frontier"
    / "runs.jsonl",
    out: Annotated[Path | None, typer.Option(help="Folder of the record; of a full run, docs.")] = None,
) -> None:
    """Train by every entrant until it is as good as tuned AdamW, and write down the bytes."""
    tasks, entrants = chosen(only or [], quick)
    bench = Bench(Store(store), protocol.QUICK if quick else protocol.FULL)
    found = bench.measure([(one, entrant) for one in tasks for entrant in entrants], jobs)
    scores = scored(tasks, found)
    for one in tasks:
        console.print(table.screen(one.title, [each for each in scores if each.task == one.name]))
    console.print(table.markdown([one.name for one in tasks], scores), markup=False, soft_wrap=True)
    folder = out or (store.parent if quick or only else ROOT / "docs")
    command = "python -m benchmarks.frontier" + " --quick" * quick + "".join(f" --only {name}" for name in only or [])
    curves = {
        one.name: {name: mean_curve(each.curves) for (t, name), each in found.items() if t == one.name} for one in tasks
    }
    paths = record.write(folder, record.of(command, tasks, scores, curves), scores)
    console.print(f"Written: {', '.join(path.name for path in paths)} in {folder.name}/")


def chosen(only: Sequence[str], quick: bool) -> tuple[list[Task], list[Entrant]]:
    """Tasks and entrants by name; the reference is always among them."""
    unknown = set(only) - {*TASKS, *ENTRANTS}
    if unknown:
        raise typer.BadParameter(
            f"{sorted(unknown)} are none of {', '.join([*TASKS, *ENTRANTS])}.", param_hint="--only"
        )
    names = [name for name in TASKS if name in only] or (QUICK_TASKS if quick else list(TASKS))
    wanted = [one for one in ENTRANTS.values() if one.name in only]
    entrants = wanted or [one for one in ENTRANTS.values() if one.quick or not quick]
    return [task(name) for name in names], list(dict.fromkeys([ENTRANTS[REFERENCE], *entrants]))


class Bench:
    """Runs what the store lacks."""

    def __init__(self, store: Store, seeds: tuple[int, ...]):
        self.store, self.seeds = store, seeds
        self._pools: SimpleQueue[Pool] = SimpleQueue()

    def measure(self, plans: Sequence[Plan], jobs: int) -> dict[tuple[str, str], Found]:
        """Of each task and entrant; those that failed are missing."""
        with _progress() as progress, ThreadPoolExecutor(jobs) as threads:
            pools = [Pool() for _ in range(jobs)]
            for pool in pools:
                self._pools.put(pool)
            bar = progress.add_task("", total=len(plans))
            try:
                found = threads.map(lambda plan: self._one(plan, progress, bar), plans)
                return {(plan[0].name, plan[1].name): each for plan, each in zip(plans, found) if each is not None}
            finally:
                threads.shutdown(wait=False, cancel_futures=True)
                for pool in pools:
                    pool.stop()

    def _one(self, plan: Plan, progress: Progress, bar: Any) -> Found | None:
        one, entrant = plan
        progress.update(bar, description=f"{one.name}: {entrant.title}")
        try:
            return protocol.measure(one, entrant, self.seeds, self._run)
        except Failed as error:
            progress.console.print(f"{one.name}: {entrant.title} failed: {error}", markup=False)
            return None
        finally:
            progress.advance(bar)

    def _run(self, cell: Cell, entrant: Entrant) -> dict[str, Any]:
        name = key(cell, entrant, WORKERS)
        known = self.store.get(name)
        if known is None:
            with self._pool() as pool:
                known = pool.run(cell)
            self.store.put(name, known)
        return known

    @contextmanager
    def _pool(self) -> Iterator[Pool]:
        pool = self._pools.get()
        try:
            yield pool
        finally:
            self._pools.put(pool)


def _progress() -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def scored(tasks: Sequence[Task], found: dict[tuple[str, str], Found]) -> list[Score]:
    """Every entrant against the reference of its task."""
    return [
        score(one.name, name, one.steps, each, found[one.name, REFERENCE])
        for one in tasks
        for (task_name, name), each in found.items()
        if task_name == one.name
    ]
