"""What was measured, cell by cell: files written whole, so that a run that was stopped goes on where it was."""

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.edges.cell import Cell
from benchmarks.edges.sweep import Runs
from stablestep.files import write_files

FOLDER = Path("build") / "edges"


@dataclass(frozen=True)
class Record:
    """A measured cell.

    Attributes:
        scale: f/⟨∇f, u⟩ at the start.
        noise: s.
        first: the first loss.
        seconds: of the sweep, of the ramps and of the finders.
        points: what predictors at points said: log h by name.
        runs: of the sweep.
        starts, ramps: log h of the first steps, and losses.
        finders: losses.
    """

    cell: Cell
    scale: float
    noise: float
    first: float
    seconds: dict[str, float]
    points: dict[str, float]
    runs: Runs
    starts: np.ndarray
    ramps: np.ndarray
    finders: np.ndarray


class Store:
    """A folder of records."""

    def __init__(self, folder: Path = FOLDER):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, cell: Cell) -> Path:
        """Its file."""
        return self.folder / f"{cell.name}.npz"

    def __contains__(self, cell: Cell) -> bool:
        return self.path(cell).exists()

    def write(self, record: Record) -> None:
        """Whole or not at all."""
        names = ("scale", "noise", "first", "seconds", "points")
        head = {"cell": asdict(record.cell)} | {name: getattr(record, name) for name in names}
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            head=np.array(json.dumps(head)),
            logs=np.array(record.runs.logs),
            losses=np.array(record.runs.losses, np.float32),
            starts=record.starts,
            ramps=record.ramps.astype(np.float32),
            finders=record.finders.astype(np.float32),
        )
        write_files({self.path(record.cell): buffer.getvalue()})

    def read(self, path: Path) -> Record:
        """What was written."""
        with np.load(path) as found:
            head = json.loads(str(found["head"]))
            cell = Cell(**head.pop("cell"))
            runs = Runs(cell.horizon)
            runs.add(found["logs"], found["losses"].astype(float))
            rest = (found[name].astype(float) for name in ("starts", "ramps", "finders"))
            return Record(cell, **head, **dict(zip(("runs", "starts", "ramps", "finders"), (runs, *rest))))

    def records(self) -> list[Record]:
        """All of them, in the order of their names."""
        return [self.read(path) for path in sorted(self.folder.glob("*.npz"))]
