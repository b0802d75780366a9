"""How much of the tuned run's fall each design reaches."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from benchmarks.hostile.cells import Cell, Runs
from benchmarks.hostile.faults import FAULTS, HEALTHY
from benchmarks.hostile.optimizers import OPTIMIZERS

Row = dict[str, Any]
HOT = ("hot 3", "hot 10")
ONE_WORKER_OR_DATA = ("worker × 10⁴", "worker NaN", "worker flipped", "data spike")


def scored(cells: Iterable[Cell], runs: Runs) -> list[Row]:
    """Every run with its share of the tuned run's fall, with the same batches and masks; `paid`: a probe's gradients are steps."""
    return [asdict(cell) | _shares(cell, runs) for cell in cells]


def _shares(cell: Cell, runs: Runs) -> Row:
    good = runs.get(replace(cell, design="nothing", fault=HEALTHY.name, real=False))
    found = runs.get(cell)
    share = {name: _share(good, found[name]) for name in ("last", "paid")}
    diverged = not found["last"] <= good["first"]
    return {"share": share["last"], "paid": share["paid"], "diverged": diverged, "spent": found["spent"]}


def _share(good: Row, last: float) -> float:
    share = (good["first"] - last) / (good["first"] - good["last"])
    return float(share) if np.isfinite(share) else -np.inf


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """What the table of designs says of one."""
    hostile, healthy = _of(rows, *(fault.name for fault in FAULTS)), _of(rows, HEALTHY.name)
    hot, lost = _of(rows, *HOT), [100 * (1 - row["share"]) for row in healthy]
    return {
        "runs": len(hostile),
        "diverged": sum(row["diverged"] for row in hostile),
        "within": {fault.name: within(_of(rows, fault.name)) for fault in FAULTS},
        "median": {fault.name: median(_of(rows, fault.name)) for fault in FAULTS},
        "hot": {str(limit): within(hot, limit) for limit in (3, 5, 10)},
        "hot, probe paid": within([row | {"share": row["paid"]} for row in hot]),
        "probes": sum(row["spent"] > 0 for row in rows),
        "gradients": float(np.mean([row["spent"] for row in rows if row["spent"]] or [0])),
        "bad": within(_of(rows, *ONE_WORKER_OR_DATA)),
        "healthy": {
            "runs": len(lost),
            "mean": float(np.mean(lost)),
            "max": max(lost),
            "above": sum(x > 0.5 for x in lost),
        },
    }


def by(rows: Sequence[Row], name: str) -> dict[str, dict[str, Any]]:
    """Summaries for every design, training or optimizer."""
    return {
        value: summary([row for row in rows if row[name] == value]) for value in dict.fromkeys(r[name] for r in rows)
    }


def cells(rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """Fault × optimizer of one design: how many diverge, how many of a hundred are within 3 %, the median share."""
    return {
        fault: {
            optimizer: _line([row for row in _of(rows, fault) if row["optimizer"] == optimizer])
            for optimizer in OPTIMIZERS
        }
        for fault in dict.fromkeys(row["fault"] for row in rows)
    }


def _line(rows: Sequence[Row]) -> str:
    return f"{sum(row['diverged'] for row in rows)}, {within(rows):.0f}, {max(median(rows), -9.0):.2f}"


def within(rows: Sequence[Row], percent: float = 3) -> float:
    """How many of a hundred lose at most so much of the fall."""
    return _percent(rows, lambda row: row["share"] >= 1 - percent / 100)


def median(rows: Sequence[Row]) -> float:
    """Of the share."""
    return float(np.median([row["share"] for row in rows]))


def _percent(rows: Sequence[Row], holds: Callable[[Row], bool]) -> float:
    return 100 * sum(map(holds, rows)) / len(rows)


def _of(rows: Sequence[Row], *faults: str) -> list[Row]:
    return [row for row in rows if row["fault"] in faults]
