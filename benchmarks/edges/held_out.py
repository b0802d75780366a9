"""Scores of the probe on tasks that its table has not seen, and the widths of its intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.edges.fit import members, row
from benchmarks.edges.replay import Outcome, replay
from benchmarks.edges.truth import Truth
from stablestep.torch.probe.calibration import EDGES, Row
from stablestep.torch.probe.search import BUDGETS, Budget

REPLAYS = 6
SURE = 0.9
UNIT = {name: {"ramp": 1.0, "runs": 1.0} for name in EDGES}


def rows_without(truths: Sequence[Truth], family: str) -> dict[str, Row]:
    """For each task a row that has not seen it."""
    mine = members(truths, family)
    return {task: row([one for one in mine if one.cell.task != task], UNIT) for task in tasks(mine)}


def tasks(truths: Iterable[Truth]) -> list[str]:
    """Their names."""
    return sorted({truth.cell.task for truth in truths})


def outcomes(truths: Sequence[Truth], rows: dict[str, Row], budget: Budget) -> list[Outcome]:
    """Some replays of every cell, each with the row that has not seen its task."""
    found = (
        replay(truth, rows[truth.cell.task], budget, seed)
        for truth in truths
        if truth.complete
        for seed in range(REPLAYS)
    )
    return [outcome for outcome in found if outcome is not None]


def width(found: Iterable[Outcome], name: str) -> float:
    """The 90 % quantile of |error| in standard deviations of the belief."""
    return float(np.quantile([abs(one.error(name)) / one.spreads[name] for one in found], SURE))


def widths(quick: Sequence[Outcome], full: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Of every edge, after a ramp and after runs."""
    return {name: {"ramp": width(quick, name), "runs": width(full, name)} for name in EDGES}


def calibrated(truths: Sequence[Truth], family: str) -> Row:
    """The row that ships: fitted to all tasks, with widths from replays on tasks that were left out."""
    mine, without = members(truths, family), rows_without(truths, family)
    quick = outcomes(mine, without, BUDGETS["quick"])
    full = outcomes(mine, without, BUDGETS["default"])
    return replace(row(mine, UNIT), widths=widths(quick, full))
