"""The page of the scoreboard in docs/: made by `make edges`, never by hand."""

from pathlib import Path
from typing import Any

from stablestep.files import write_files
from stablestep.reproduce.sections.training import WORDS, table

PAGE = Path(__file__).parents[2] / "docs" / "edges.md"


def page(found: dict[str, Any], path: Path = PAGE) -> None:
    """Write it."""
    versions = ", ".join(f"{name} {value}" for name, value in found["versions"].items())
    origin = f"Recorded on {found['date']} by `{found['command']}` from {found['cells']} of {found['of']} sweeps ({versions})."
    parts = ["# Which step does a training bear, and who can say?", *WORDS, "![off-factor profiles](edges.png)", origin]
    for family in found["families"]:
        shown = table(found, family)
        parts += [f"## {shown.caption}", _markdown(shown.columns, shown.rows)]
    write_files({path: ("\n\n".join(parts) + "\n").encode()})


def _markdown(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
