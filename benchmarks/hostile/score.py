"""How much of the tuned run's fall each design reaches."""

import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table


def report(cells, store, out: Path | None) -> None:
    """Print the table, and write it if asked."""
    rows = [{**asdict(cell), **store.get(cell), **_against_tuned(cell, store)} for cell in cells]
    table = {
        design: _summary([row for row in rows if row["design"] == design])
        for design in dict.fromkeys(row["design"] for row in rows)
    }
    console = Console(width=180)
    for title, one in table.items():
        console.print(_table(title, one))
    if out is not None:
        out.write_text(json.dumps(table, indent=1))


def _against_tuned(cell, store) -> dict:
    """The share of the tuned run's fall, with the same batches and masks."""
    tuned = type(cell)(cell.training, cell.optimizer, cell.omega, "nothing", "healthy", cell.seed, cell.lr, cell.norm)
    good = store.get(tuned)
    share = (good["first"] - store.get(cell)["last"]) / (good["first"] - good["last"])
    return {
        "share": share if np.isfinite(share) else -np.inf,
        "diverged": store.get(cell)["last"] > good["first"] or not np.isfinite(share),
    }


def _summary(rows: list[dict]) -> dict:
    by_fault = defaultdict(list)
    for row in rows:
        by_fault[row["fault"]].append(row)
    found = {fault: _line(chosen) for fault, chosen in by_fault.items()}
    hostile = [row for row in rows if row["fault"] != "healthy"]
    found["all hostile"] = _line(hostile)
    found["hot ≤ 10"] = _line([row for row in rows if row["fault"] in ("hot 3", "hot 10")])
    return found


def _line(rows: list[dict]) -> dict:
    shares = np.array([row["share"] for row in rows])
    return {
        "runs": len(rows),
        "diverged": int(sum(row["diverged"] for row in rows)),
        "within 3 %": float(np.mean(shares >= 0.97)),
        "within 10 %": float(np.mean(shares >= 0.90)),
        "median": float(np.median(shares)),
        "mean lost %": float(100 * np.mean(1 - np.maximum(shares, -1))),
        "worst lost %": float(100 * np.max(1 - np.maximum(shares, -1))),
    }


def _table(title: str, summary: dict) -> Table:
    table = Table("fault", *next(iter(summary.values())), title=title)
    for fault, line in summary.items():
        table.add_row(fault, *(f"{value:.3g}" for value in line.values()))
    return table
