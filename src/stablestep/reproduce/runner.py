"""Runs the sections in order and writes the report after each."""

import gc
import os
import platform
import shlex
import signal
import time
from collections import deque
from collections.abc import Container, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import active_children, get_context
from pathlib import Path
from threading import Lock
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from stablestep.errors import nearest, require, seed_of
from stablestep.report import Section, measurement, number, prepare, write
from stablestep.reproduce.context import Context

COLORS = {"holds": "green", "misprint": "yellow", "false": "red", "undecided": "dim"}
MOST_JOBS = 4
PACKAGES = ("stablestep", "jax", "jaxlib", "numpy", "xarray", "matplotlib")


@dataclass(frozen=True)
class Entry:
    """A section that can be run: `module` has a function run(context) that returns it and decides `claims`."""

    name: str
    title: str
    module: str
    claims: tuple[str, ...]

    def matches(self, id: str) -> bool:
        """Whether `id` is the section's name, or one of its claims' ids or a beginning of one."""
        return bool(id) and (id == self.name or any(claim.startswith(id) for claim in self.claims))


SECTIONS = (
    Entry(
        "fig1-dsgd",
        "Figure 1, DSGD: noise that grows with the gradient",
        "stablestep.reproduce.fig1_dsgd",
        ("fig1.dsgd.constant", "fig1.dsgd.normalized"),
    ),
    Entry(
        "fig1-dcsgd",
        "Figure 1, DCSGD: compressed gradients",
        "stablestep.reproduce.fig1_dcsgd",
        ("fig1.dcsgd.constant", "fig1.dcsgd.normalized"),
    ),
    Entry(
        "fig1-dsignsgd",
        "Figure 1, DSignSGD: signs under noise without a mean",
        "stablestep.reproduce.fig1_dsignsgd",
        ("fig1.dsignsgd.constant", "fig1.dsignsgd.scheduled"),
    ),
    Entry(
        "messages",
        "The law of the mean message",
        "stablestep.reproduce.messages",
        (
            "message.compression-mse",
            "message.dcsgd-covariance",
            "message.sign-mean",
            "message.sign-covariance",
            "equivalence.dcsgd-dsgd",
        ),
    ),
    Entry(
        "schedules",
        "Schedules",
        "stablestep.reproduce.schedules",
        ("schedule.robbins-monro", "schedule.local-norms"),
    ),
    Entry(
        "odes",
        "Gradient descent as an ODE",
        "stablestep.reproduce.odes",
        (
            "ode.quadratic.first",
            "ode.quadratic.classic",
            "ode.quadratic.new",
            "ode.quadratic.faster-is-inconsistent",
            "ode.quartic.first",
            "ode.quartic.instability",
            "ode.taylor",
            "ode.order",
            "ode.loss-order",
        ),
    ),
    Entry(
        "sdes",
        "The optimizers as SDEs",
        "stablestep.reproduce.sdes",
        (
            "sde.order",
            "sde.loss-drift",
            "sde.loss-volatility",
            "sde.stationary-quadratic",
            "sde.sign-new",
            "sde.sign-classic",
        ),
    ),
    Entry("overlay", "Figure 1 with the SDE models", "stablestep.reproduce.overlay", ()),
    Entry(
        "limits",
        "Step limits and bounds: DSGD and DCSGD",
        "stablestep.reproduce.limits",
        (
            "limit.dsgd",
            "limit.dcsgd-bounded",
            "limit.dcsgd-affine",
            "limit.expectation-form",
            "bound.first-order-dcsgd",
            "limit.recovers-2-over-L",
            "limit.sharp-on-quadratic",
            "table2",
        ),
    ),
    Entry(
        "sign-bounds",
        "Step limits and bounds: DSignSGD",
        "stablestep.reproduce.bounds",
        (
            "sign.constants",
            "bound.sign",
            "bound.sign-denominators",
            "limit.sign-noiseless",
            "limit.sign-no-gradient-norm",
        ),
    ),
    Entry("edge", "Where the edge really is", "stablestep.reproduce.edge", ()),
    Entry("training", "Real training: predicted and observed steps", "stablestep.reproduce.training", ()),
)


class Interrupted(Exception):
    """The run was interrupted; the message says in one sentence what was kept."""


def reproduce(
    out: Path | str,
    quick: bool = False,
    only: Iterable[str] = (),
    seed: int = 0,
    console: Console | None = None,
    sections: Sequence[Entry] = SECTIONS,
    jobs: int | None = None,
) -> Path:
    """Run the sections, write the report into `out` after each, and return the path of report.html.

    only: names of sections, ids of claims, or beginnings of such ids; nothing means everything.
    jobs: in how many processes, by default one for each processor and at most four; with one it is this process itself.
    Raises `InvalidInput` for an unknown id or a folder that cannot be written, and `Interrupted` on Ctrl-C. Whatever
    stops it, the sections finished before are in the report, which names the others.
    """
    only, seed = tuple(only), seed_of(seed)
    console = console or Console(stderr=True)
    entries = select(only, sections, quick)
    prepare(out)
    facts = provenance(out, quick, only, seed)
    found: dict[str, Section] = {}
    start = time.perf_counter()

    def save() -> None:
        missing = [entry.title for entry in entries if entry.name not in found]
        write([found[entry.name] for entry in entries if entry.name in found], out, facts, missing)

    jobs = min(jobs or min(os.cpu_count() or 1, MOST_JOBS), len(entries))
    work = _here if jobs == 1 else partial(_shared, jobs)
    try:
        with _display(console, len(entries)) as display, closing(work(entries, quick, seed, display)) as sections_done:
            for name, section in sections_done:
                found[name] = section
                facts["seconds"] = round(time.perf_counter() - start, 1)
                save()
    except KeyboardInterrupt:
        # The interruption may have come while the last finished section was being written.
        if found:
            save()
        raise Interrupted(_farewell(entries, found, Path(out))) from None
    console.print(verdicts([found[entry.name] for entry in entries]))
    console.print(f"The report is at {Path(out) / 'report.html'}", soft_wrap=True, highlight=False, markup=False)
    return Path(out) / "report.html"


def select(only: Iterable[str], sections: Sequence[Entry] = SECTIONS, quick: bool = False) -> list[Entry]:
    """The sections that `only` names, in their own order; where it names none all, in a quick run all that decide claims.

    Raises `InvalidInput` for an id that names nothing.

    >>> [entry.name for entry in select(["message.sign", "fig1-dsgd"])]
    ['fig1-dsgd', 'messages']
    """
    wanted = tuple(only)
    known = [name for entry in sections for name in (entry.name, *entry.claims)]
    for id in wanted:
        found = any(entry.matches(id) for entry in sections)
        require(found, f'"{id}" names no section and no claim. {nearest(id, known)}')
    if not wanted:
        return [entry for entry in sections if entry.claims or not quick]
    return [entry for entry in sections if any(entry.matches(id) for id in wanted)]


def provenance(out: Path | str, quick: bool, only: Sequence[str], seed: int) -> dict[str, Any]:
    """Everything somebody needs to repeat the run."""
    choices = ["--quick"] * quick + [word for id in only for word in ("--only", id)]
    words = ["stablestep", "reproduce", *choices, "--out", str(out), "--seed", str(seed)]
    versions = {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}
    date = time.strftime("%Y-%m-%d %H:%M %Z")
    return {
        "command": shlex.join(words),
        "seed": seed,
        "quick": quick,
        "date": date,
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": versions,
    }


def verdicts(sections: Sequence[Section]) -> Table:
    """The verdicts as a table for the terminal."""
    table = Table("claim", "verdict", "measured", "predicted", box=None, header_style="bold", pad_edge=False)
    for claim in (claim for section in sections for claim in section.claims):
        verdict = f"[{COLORS[claim.verdict]}]{claim.verdict}[/]"
        relation = {"=": "=", "<=": "≤", ">=": "≥"}[claim.decisive.relation]
        measured = measurement(claim.measured, claim.stderr)
        table.add_row(escape(claim.id), verdict, measured, f"{relation} {number(claim.predicted)}")
    return table


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
def _display(console: Console, total: int) -> Iterator[Display]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield Display(bars, total)


Finished = Generator[tuple[str, Section], None, None]


def _here(entries: Sequence[Entry], quick: bool, seed: int, display: Display) -> Finished:
    """The sections one after the other."""
    for entry in entries:
        with display.section(entry) as progress:
            section = import_module(entry.module).run(Context(quick=quick, seed=seed, progress=progress))
        yield entry.name, section


def _shared(jobs: int, entries: Sequence[Entry], quick: bool, seed: int, display: Display) -> Finished:
    """The sections as they finish, this process from the first on and others from the last on: compilation uses one core only."""
    rest, theirs, lock = deque(entries), {}, Lock()
    # Not forked: JAX has threads, which a fork loses.
    pool = ProcessPoolExecutor(jobs - 1, get_context("spawn"), _prepare_worker)

    def give(_: Any = None) -> None:
        """Hand out one more; not all at once, as those that wait for another process cannot be had back."""
        with lock:
            future = pool.submit(_work, rest[-1], quick, seed) if rest else None
            if future is not None:
                theirs[future] = rest.pop()
        if future is not None:
            future.add_done_callback(give)

    def take() -> Entry | None:
        with lock:
            return rest.popleft() if rest else None

    try:
        for _ in range(jobs - 1):
            give()
        while (entry := take()) is not None:
            yield from _here([entry], quick, seed, display)
            yield from _taken(theirs, [future for future in list(theirs) if future.done()], display)
        yield from _taken(theirs, as_completed(list(theirs)), display)
    finally:
        rest.clear()
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in active_children():
            worker.terminate()


def _taken(theirs: dict[Future, Entry], done: Iterable[Future], display: Display) -> Finished:
    for future in done:
        entry, (section, seconds) = theirs.pop(future), future.result()
        display.finished(entry, seconds)
        yield entry.name, section


def _prepare_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that waits for this one deals with Ctrl-C
    gc.set_threshold(100_000)  # tracing makes many objects, and hardly any garbage


def _work(entry: Entry, quick: bool, seed: int) -> tuple[Section, float]:
    start = time.perf_counter()
    section = import_module(entry.module).run(Context(quick=quick, seed=seed))
    _ = section.files  # made here, not by the process that all wait for
    return section, time.perf_counter() - start


def _farewell(entries: Sequence[Entry], found: Container[str], out: Path) -> str:
    missing = ", ".join(entry.name for entry in entries if entry.name not in found)
    kept = ", ".join(entry.name for entry in entries if entry.name in found)
    if not kept:
        return f'Interrupted before a section was finished: nothing in "{out}" was changed.'
    return f"Interrupted: {kept} kept in {out / 'report.html'}" + (f"; not finished: {missing}." if missing else ".")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
