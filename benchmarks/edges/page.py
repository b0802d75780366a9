"""The page of the scoreboard in docs/: made by `make edges`, never by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.edges.predictors.base import SEEDS
from stablestep.files import write_files
from stablestep.reproduce.sections.training import WORDS, table

PROBE = "ramp, bracket 1.7"
# What the probe is to reach with every optimizer: its words, the number, and what it must lie between.
GOALS: tuple[tuple[str, Callable[[dict[str, Any]], float], float, float, str], ...] = (
    ("off by at most 1.12, median", lambda line: line["off"][0], 1, 1.12, ".3f"),
    ("off by at most 1.5 in 95 %", lambda line: line["off"][1], 1, 1.5, ".2f"),
    ("intervals hold 85 to 95 %", lambda line: line["covered"], 0.85, 0.95, ".0%"),
    ("at most 3 T gradients, median", lambda line: line["cost_in_horizons"][0], 0, 3, ".2f"),
    ("at most 0.3 of a sweep in nine of ten cases", lambda line: line["share_of_sweep"][1], 0, 0.3, ".2f"),
    ("regret at most 0.02, median", lambda line: line["regret"][0], 0, 0.02, ".3f"),
    ("regret at most 0.1 in nine of ten cases", lambda line: line["regret"][1], 0, 0.1, ".3f"),
)
PAGE = Path(__file__).parents[2] / "docs" / "edges.md"


def page(found: dict[str, Any], path: Path = PAGE) -> None:
    """Write it."""
    versions = ", ".join(f"{name} {value}" for name, value in found["versions"].items())
    asked = found["families"]["all"][PROBE]["of"]
    origin = (
        f"Recorded on {found['date']} by `{found['command']}` from {found['cells']} of {found['of']} sweeps ({versions}). "
        f"Answers are counted from {asked} questions, {SEEDS} with draws of their own for each sweep that found all edges."
    )
    parts = ["# Which step does a training bear, and who can say?", *WORDS, "![off-factor profiles](edges.png)", origin]
    parts += ["## The probe (default budget) against its goals", "Bold: missed.", _goals(found["families"])]
    for family in found["families"]:
        shown = table(found, family)
        parts += [f"## {shown.caption}", _markdown(shown.columns, shown.rows)]
    write_files({path: ("\n\n".join(parts) + "\n").encode()})


def _goals(families: dict[str, dict[str, Any]]) -> str:
    return _markdown(
        ["goal", *families],
        [[words, *(_held(read(lines[PROBE]), *rest) for lines in families.values())] for words, read, *rest in GOALS],
    )


def _held(value: float, low: float, high: float, form: str) -> str:
    said = f"{value:{form}}"
    return said if low <= value <= high else f"**{said}**"


def _markdown(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
