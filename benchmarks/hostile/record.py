"""What was found, as docs/hostile.json keeps it."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hostile import real
from benchmarks.hostile.cells import ALL_FAULTS, Cell, Runs
from benchmarks.hostile.score import Row, by, cells, scored
from benchmarks.hostile.trainings import CHOSE, SEEN
from benchmarks.machine import machine
from stablestep.files import write_files

RECORD = Path(__file__).parents[2] / "docs" / "hostile.json"
GOVERNOR = "Governor"
PROBES = {"Governor, probe": "a probe", "Governor, quick probe": "a quick probe"}
LOWEST = -9.0


def recorded(done: Sequence[Cell], of: int, runs: Runs, cost: Mapping[str, Any] | None) -> dict[str, Any]:
    """Everything that the page and the figure say."""
    rows = scored([cell for cell in done if not cell.real], runs)
    held_out = [row for row in rows if row["training"] not in CHOSE]
    facts = machine()
    return {
        "date": date.today().isoformat(),
        "command": "make hostile",
        "versions": {name: facts["versions"][name] for name in ("stablestep", "torch", "python")},
        "cpu": facts["cpu"],
        "runs": len(done),
        "of": of,
        "groups": {title: by(group, "design") for title, group in _groups(rows).items() if group},
        "held out": by(held_out, "design") if held_out else {},
        "goals": _goals(by(held_out, "design")) if held_out else [],
        "trainings": by([row for row in rows if row["design"] == GOVERNOR], "training"),
        "cells": cells([row for row in held_out if row["design"] == GOVERNOR]),
        "real": _real([cell for cell in done if cell.real], runs),
        "cost": cost,
        "shares": _shares(held_out),
    }


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    seen = dict.fromkeys(SEEN, "looked at before revisions") | dict.fromkeys(CHOSE, "constants chosen on these")
    groups: dict[str, list[Row]] = {
        "All trainings that chose no constant": [r for r in rows if r["training"] not in CHOSE]
    }
    for title in ("no variant was tried on these", *dict.fromkeys(seen.values())):
        members = [row for row in rows if seen.get(row["training"], "no variant was tried on these") == title]
        names = ", ".join(dict.fromkeys(row["training"] for row in members))
        groups[f"{names}: {title}"] = members
    return groups


def _goals(designs: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    one = designs.get(GOVERNOR)
    if one is None:
        return []
    well = one["healthy"]
    goals = [
        ("no run diverges", f"{one['diverged']} of {one['runs']}", one["diverged"] == 0),
        ("×10⁴, NaN, flipped, data spike: all within 3 %", f"{one['bad']:.0f} %", one["bad"] == 100),
        ("healthy: ≤ 0.2 % of the fall lost in the mean", f"{well['mean']:+.2f} %", well["mean"] <= 0.2),
        ("healthy: no run more than 2 %", f"{well['max']:+.2f} %", well["max"] <= 2),
        ("up to 10 times too hot: ≥ 60 % within 3 %", f"{one['hot']['3']:.0f} %", one["hot"]["3"] >= 60),
    ]
    for name, words in PROBES.items():
        if name in designs:
            hot = designs[name]["hot"]["3"]
            goals += [(f"the same with {words}: ≥ 95 %", f"{hot:.0f} %", hot >= 95)]
    return [(goal, measured, "yes" if held else "no") for goal, measured, held in goals]


def _real(done: Sequence[Cell], runs: Runs) -> dict[str, Any] | None:
    if not done:
        return None
    alone = [Cell(**{**vars(cell), "real": False}) for cell in done]
    apart = [abs(one["share"] - two["share"]) for one, two in zip(scored(done, runs), scored(alone, runs))]
    return {
        "training": done[0].training,
        "runs": len(done),
        "diverged": sum(row["diverged"] for row in scored(done, runs)),
        "typical": float(np.median(apart)),
        "most": max(apart),
    }


def _shares(rows: Sequence[Row]) -> dict[str, dict[str, list[float]]]:
    return {
        design: {
            fault: [
                round(max(row["share"], LOWEST), 4) for row in rows if (row["design"], row["fault"]) == (design, fault)
            ]
            for fault in ALL_FAULTS
        }
        for design in dict.fromkeys(row["design"] for row in rows)
    }


def real_cells(runs_of: Sequence[Cell], training: str) -> list[Cell]:
    """Of the governor's, those that real processes repeat."""
    chosen = [cell for cell in runs_of if (cell.design, cell.training) == (GOVERNOR, training)]
    return [Cell(**{**vars(cell), "real": True}) for cell in chosen if cell.fault in real.FAULTS]


def write(found: Mapping[str, Any], path: Path = RECORD) -> None:
    """As JSON."""
    write_files({path: (json.dumps(_finite(found), indent=1, ensure_ascii=False) + "\n").encode()})


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return float(f"{max(value, LOWEST):.5g}") if isinstance(value, float) else value
