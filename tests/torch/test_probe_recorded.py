"""A recurrent net on text, a kind that the table has not seen: probed and swept by `benchmarks.edges.external`, replayed here."""

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.edges.replay import replay
from benchmarks.edges.store import Store
from benchmarks.edges.truth import Truth
from stablestep.torch.probe.calibration import row
from stablestep.torch.probe.search import BUDGETS

FOLDER = Path(__file__).with_name("recorded")
RECORDS = [pytest.param(path, id=path.stem) for path in sorted(FOLDER.glob("*.npz"))]


def read(path) -> Truth:
    return Truth(Store(path.parent).read(path))


def test_there_are_records():
    assert RECORDS


@pytest.mark.parametrize("path", RECORDS)
def test_the_probe_of_that_day(path):
    """Within a factor 2 of the sweep's edge, for a fifth of the sweep's time, and its step trains."""
    truth = read(path)
    said, (edge, _) = truth.record.points, truth.places["useful"]
    assert abs(said["useful"] - edge) < math.log(2) and truth.regret(said["step"]) < 0.2
    assert truth.record.seconds["probe"] < 0.2 * truth.record.seconds["sweep"]


def test_intervals_of_that_day():
    """Two of three hold the edge, at least: nine of ten are promised, and there are a handful."""
    truths = [read(path.values[0]) for path in RECORDS]
    held = [truth.record.points["low"] <= truth.places["useful"][0] <= truth.record.points["high"] for truth in truths]
    assert np.mean(held) >= 2 / 3


@pytest.mark.parametrize("path", RECORDS)
def test_the_table_of_today(path):
    """Each recorded ramp, with recorded runs: nearly always near the edge, and a step that trains."""
    truth = read(path)
    found = [replay(truth, row(truth.cell.family), BUDGETS["default"], seed) for seed in range(len(truth.ramps))]
    assert all(outcome is not None for outcome in found)
    errors = [abs(outcome.error("useful")) for outcome in found if outcome is not None]
    assert np.median(errors) < math.log(1.5) and np.max(errors) < math.log(3)
    assert np.median([truth.regret(outcome.step) for outcome in found if outcome is not None]) < 0.2
