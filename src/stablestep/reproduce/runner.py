"""Runs the sections in order and writes the report after each."""

import os
import platform
import shlex
import time
from collections.abc import Container, Iterable, Sequence
from contextlib import closing
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console

from stablestep.errors import seed_of
from stablestep.report import prepare, write
from stablestep.reproduce.display import display_on, verdicts
from stablestep.reproduce.kept import identity, keep, kept
from stablestep.reproduce.registry import SECTIONS, Entry, select
from stablestep.reproduce.workers import here, shared

MOST_JOBS = 4
PACKAGES = ("stablestep", "jax", "jaxlib", "numpy", "xarray", "matplotlib")


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
    resume: bool = True,
) -> Path:
    """Run the sections, write the report into `out` after each, and return the path of report.html.

    only: names of sections, ids of claims, or beginnings of such ids; nothing means everything.
    jobs: in how many processes, by default one for each processor and at most four; with one it is this process itself.
    resume: keep the sections in `out` that a run of the same source, versions, seed and `quick` has finished, however it ended.
    Raises `InvalidInput` for an unknown id or a folder that cannot be written, and `Interrupted` on Ctrl-C. Whatever
    stops it, the sections finished before are in the report, which names the others.
    """
    only, seed = tuple(only), seed_of(seed)
    console = console or Console(stderr=True)
    entries = select(only, sections, quick)
    prepare(out)
    facts = provenance(out, quick, only, seed)
    run = identity(facts["versions"], seed, quick)
    found = kept(Path(out), [entry.name for entry in entries], run) if resume else {}
    _tell(console, found, out)
    left = [entry for entry in entries if entry.name not in found]
    start = time.perf_counter()

    def save() -> None:
        missing = [entry.title for entry in entries if entry.name not in found]
        write([found[entry.name] for entry in entries if entry.name in found], out, facts, missing)

    jobs = min(jobs or min(os.cpu_count() or 1, MOST_JOBS), len(left))
    compute = here if jobs <= 1 else partial(shared, jobs)
    try:
        with display_on(console, len(left)) as display, closing(compute(left, quick, seed, display)) as sections_done:
            for name, section in sections_done:
                found[name] = section
                facts["seconds"] = round(time.perf_counter() - start, 1)
                save()
                keep(Path(out), name, section, run)
        if not left:
            save()
    except KeyboardInterrupt:
        # The interruption may have come while the last finished section was being written.
        if found:
            save()
        raise Interrupted(_farewell(entries, found, Path(out))) from None
    console.print(verdicts([found[entry.name] for entry in entries]))
    console.print(f"The report is at {Path(out) / 'report.html'}", soft_wrap=True, highlight=False, markup=False)
    return Path(out) / "report.html"


def _tell(console: Console, found: Iterable[str], out: Path | str) -> None:
    """Say what is not computed again."""
    if names := ", ".join(found):
        console.print(f"Kept of an earlier run in {out}: {names}", soft_wrap=True, highlight=False, markup=False)


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
