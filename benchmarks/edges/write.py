"""The table that the probe ships with, and the record of what was measured."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.edges.fit import families, members
from benchmarks.edges.held_out import calibrated
from benchmarks.edges.truth import Truth
from stablestep.files import write_files
from stablestep.torch.probe import calibration

TABLE = Path(calibration.__file__).with_name(calibration.TABLE)
EDGES = Path(__file__).with_name("edges.json")
COMMAND = "make edges"


def origin() -> dict[str, Any]:
    """Date, command, versions."""
    versions = {name: version(name) for name in ("stablestep", "jax", "numpy")} | {"python": platform.python_version()}
    return {"command": COMMAND, "date": date.today().isoformat(), "versions": versions}


def table(truths: Sequence[Truth], path: Path = TABLE) -> dict[str, Any]:
    """Fit all families and write them."""
    rows = {family: _row(truths, family) for family in families(truths)}
    found = origin() | {"families": rows}
    write(path, found)
    return found


def _row(truths: Sequence[Truth], family: str) -> dict[str, Any]:
    mine = members(truths, family)
    counts = {"cells": len(mine), "tasks": len({truth.cell.task for truth in mine})}
    return counts | asdict(calibrated(truths, family))


def measured(truths: Sequence[Truth], path: Path = EDGES) -> None:
    """Edges and best steps of all cells."""
    rows = [
        asdict(truth.cell)
        | {"noise": truth.record.noise, "scale": truth.record.scale, "cpu_seconds": sum(truth.record.seconds.values())}
        | {name: {"log_step": place, "error": error} for name, (place, error) in truth.places.items()}
        for truth in truths
    ]
    write(path, origin() | {"cells": rows})


def write(path: Path, content: Any) -> None:
    text = json.dumps(_rounded(content), indent=1, ensure_ascii=False)
    write_files({path: (text + "\n").encode()})


def _rounded(value: Any) -> Any:
    """Five digits are enough, and keep changes readable."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, (list, tuple)) else value
