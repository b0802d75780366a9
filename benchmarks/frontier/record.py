"""What a run of the benchmark leaves behind."""

import datetime
import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

from benchmarks.frontier import protocol
from benchmarks.frontier.entrants import ENTRANTS
from benchmarks.frontier.figure import figure
from benchmarks.frontier.pool import WORKERS
from benchmarks.frontier.protocol import Curve, Found
from benchmarks.frontier.score import Score, mean_curve
from benchmarks.frontier.table import as_csv
from benchmarks.frontier.tasks import Task
from stablestep.files import write_files

POINTS = 40
Reached = dict[tuple[str, str], Found]


def of(command: str, tasks: Sequence[Task], scores: Sequence[Score], found: Reached) -> dict[str, Any]:
    """All that tables and figure need."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in ("stablestep", "torch")},
        "cores": os.cpu_count(),
        "workers": WORKERS,
        "trials": protocol.TRIALS,
        "tasks": {one.name: {"title": one.title, "steps": one.steps, "parameters": _size(one)} for one in tasks},
        "entrants": {name: {"title": ENTRANTS[name].title, "side": ENTRANTS[name].side} for _, name in found},
        "rows": [_plain(asdict(one)) for one in scores],
        "curves": {one.name: _curves(one.name, found) for one in tasks},
    }


def _curves(task: str, found: Reached) -> dict[str, list[list[float]]]:
    return {name: _thinned(mean_curve(each.curves)) for (of, name), each in found.items() if of == task}


def _size(task: Task) -> int:
    return sum(parameter.numel() for parameter in task.start(0).parameters())


def _thinned(curve: Curve) -> list[list[float]]:
    """About forty mean losses of four digits, the last one among them; JSON has neither infinity nor NaN."""
    chosen = curve[:: -max(1, len(curve) // POINTS)][::-1]
    return [[step, float(f"{loss:.4g}"), sent] for step, loss, sent in chosen if math.isfinite(loss)]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _number(value) if isinstance(value, float) else value for name, value in row.items()}


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def write(folder: Path, found: dict[str, Any], scores: Sequence[Score]) -> list[Path]:
    """frontier.json, .csv and .png."""
    picture = BytesIO()
    figure(found, scores).savefig(picture, format="png", dpi=110)
    text = json.dumps(found, ensure_ascii=False).replace('{"task"', '\n{"task"') + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"frontier.{kind}" for kind in ("json", "csv", "png")]
    write_files(dict(zip(paths, (text.encode(), as_csv(scores).encode(), picture.getvalue()))))
    return paths
