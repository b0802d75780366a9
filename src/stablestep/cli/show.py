"""How the commands on one spec are asked, and how they show numbers."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

Start = Annotated[Path, typer.Argument(metavar="SPEC.toml", help=r"The problem, the agents, and x0 in \[run].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(record: dict[str, Any]) -> None:
    """Print a record of numbers, texts, lists and arrays as JSON in ASCII; it has no infinity (null), and its keys are texts."""
    from stablestep.claim import plain

    print(json.dumps(plain(record), indent=2, allow_nan=False))


def step(value: float | None) -> str:
    """A step in a table."""
    from stablestep.claim import number

    if value is None:
        return "–"
    return number(float(f"{value:.4g}")) if math.isfinite(value) else "no limit"
