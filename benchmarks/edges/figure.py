"""The picture of the scoreboard: how far off each predictor is, from its best case to its worst."""

import io
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from stablestep.files import write_files
from stablestep.reproduce.sections.training import profiles

PICTURE = Path(__file__).parents[2] / "docs" / "edges.png"


def draw(found: dict[str, Any], path: Path = PICTURE) -> None:
    """Write it."""
    buffer = io.BytesIO()
    figure: Figure = profiles(found)
    figure.savefig(buffer, format="png", dpi=110)
    write_files({path: buffer.getvalue()})
