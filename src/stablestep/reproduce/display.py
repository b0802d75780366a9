"""What the terminal shows while sections run, and at the end."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from stablestep.report import Section, measurement, number
from stablestep.reproduce.registry import Entry

COLORS = {"holds": "green", "misprint": "yellow", "false": "red", "undecided": "dim"}


class Display:
    """What the terminal shows while sections run: a bar where it is one, a line per section anywhere."""

    def __init__(self, bars: Progress, total: int):
        self.bars = bars
        self.overall = bars.add_task("all sections", total=total)

    @contextmanager
    def section(self, entry: Entry) -> Iterator[Any]:
        """Show one section; gives the function that takes its progress."""
        start = time.perf_counter()
        task = self.bars.add_task(escape(entry.title), total=1.0)
        if not self.bars.console.is_terminal:
            self.bars.console.print(f"{entry.name} ...", markup=False, highlight=False)
        try:
            yield lambda step: self._step(task, entry, step)
        finally:
            self.bars.remove_task(task)
        self.finished(entry, time.perf_counter() - start)

    def finished(self, entry: Entry, seconds: float) -> None:
        """Say that a section is finished."""
        self.bars.advance(self.overall)
        self.bars.console.print(f"{entry.name} finished in {seconds:.1f} s", markup=False, highlight=False)

    def _step(self, task: Any, entry: Entry, step: float | str) -> None:
        if isinstance(step, str):
            self.bars.update(task, description=escape(f"{entry.title}: {step}"))
        else:
            self.bars.update(task, completed=float(step))


@contextmanager
def display_on(console: Console, total: int) -> Iterator[Display]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield Display(bars, total)


def verdicts(sections: Sequence[Section]) -> Table:
    """The verdicts as a table for the terminal."""
    table = Table("claim", "verdict", "measured", "predicted", box=None, header_style="bold", pad_edge=False)
    for claim in (claim for section in sections for claim in section.claims):
        verdict = f"[{COLORS[claim.verdict]}]{claim.verdict}[/]"
        relation = {"=": "=", "<=": "≤", ">=": "≥"}[claim.decisive.relation]
        measured = measurement(claim.measured, claim.stderr)
        table.add_row(escape(claim.id), verdict, measured, f"{relation} {number(claim.predicted)}")
    return table
