"""Bytes to a target: every entrant trains until it is as good as tuned AdamW."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.frontier import protocol, record, table
from benchmarks.frontier.bench import Bench, Told
from benchmarks.frontier.dense import REFERENCE
from benchmarks.frontier.entrant import Entrant
from benchmarks.frontier.entrants import ENTRANTS
from benchmarks.frontier.pool import Failed
from benchmarks.frontier.score import Score, score
from benchmarks.frontier.store import Store
from benchmarks.frontier.tasks import TASKS, Task, task

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "build" / "frontier" / "runs.jsonl"
QUICK_TASKS = ("digits", "names")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(width=None if sys.stdout.isatty() else 140)


@app.command(help=__doc__)
def main(
    quick: Annotated[bool, typer.Option("--quick", help="Two tasks, few entrants, three seeds.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="A task or an entrant; may be repeated.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Groups of four workers at a time; one keeps two cores busy.")] = 1,
    store: Annotated[Path, typer.Option(help="Runs that are not repeated.")] = RUNS,
    out: Annotated[Path | None, typer.Option(help="Folder of the record; of a full run, docs.")] = None,
) -> None:
    """Measure, show and write down."""
    tasks, entrants = chosen(only or [], quick)
    seeds = protocol.QUICK if quick else protocol.FULL
    try:
        with told(len(tasks) * len(entrants)) as tell, Bench(Store(store), seeds, jobs, tell) as bench:
            found = bench.measure(tasks, entrants)
    except Failed as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(1) from None
    steps = {each.name: each.steps for each in tasks}
    scores = [score(of, who, steps[of], each, found[of, REFERENCE]) for (of, who), each in found.items()]
    show(tasks, scores)
    command = "python -m benchmarks.frontier" + " --quick" * quick + "".join(f" --only {name}" for name in only or [])
    folder = out or (store.parent if quick or only else ROOT / "docs")
    record.write(folder, record.of(command, tasks, scores, found), scores)
    console.print(f"Written: frontier.json, .csv and .png in {folder.name}/")


def show(tasks: Sequence[Task], scores: Sequence[Score]) -> None:
    """A table for each task, and the Markdown table of all."""
    for each in tasks:
        console.print(table.screen(each.title, [one for one in scores if one.task == each.name]))
    console.print(table.markdown([each.name for each in tasks], scores), markup=False, soft_wrap=True)


def chosen(only: Sequence[str], quick: bool) -> tuple[list[Task], list[Entrant]]:
    """Tasks and entrants by name; the reference is always among them."""
    unknown = sorted(set(only) - {*TASKS, *ENTRANTS})
    if unknown:
        known = ", ".join([*TASKS, *ENTRANTS])
        raise typer.BadParameter(f"{', '.join(unknown)} is none of {known}.", param_hint="--only")
    names = [name for name in TASKS if name in only] or (QUICK_TASKS if quick else list(TASKS))
    wanted = [one for one in ENTRANTS.values() if one.name in only]
    entrants = wanted or [one for one in ENTRANTS.values() if one.quick or not quick]
    return [task(name) for name in names], list(dict.fromkeys([ENTRANTS[REFERENCE], *entrants]))


@contextmanager
def told(total: int) -> Iterator[Told]:
    """Progress: a bar, and a line for each entrant that is done."""
    columns = (SpinnerColumn(), TextColumn("frontier"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=total)

        def tell(of: Task, entrant: Entrant, found: Score | str) -> None:
            text = table.brief(found) if isinstance(found, Score) else f"failed: {found}"
            progress.console.print(f"{of.name}: {entrant.title}: {text}", markup=False, highlight=False)
            progress.advance(bar)

        yield tell
