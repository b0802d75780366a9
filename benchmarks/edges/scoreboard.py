"""Every predictor on the same held-out cells: python -m benchmarks.edges.scoreboard"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.edges.cell import cells as cells_of
from benchmarks.edges.figure import draw
from benchmarks.edges.fit import bare, families, key, members
from benchmarks.edges.held_out import outcomes, rows_without, widths
from benchmarks.edges.page import page
from benchmarks.edges.predictors import TABLE, Answer, Case
from benchmarks.edges.predictors.base import SEEDS
from benchmarks.edges.store import FOLDER, Store
from benchmarks.edges.tasks import TASKS
from benchmarks.edges.truth import Truth
from benchmarks.edges.write import origin, write
from stablestep.reproduce.sections import training
from stablestep.torch.probe.calibration import Row
from stablestep.torch.probe.search import BUDGETS

SWEEP = 28  # runs of a sweep with a bisection and a grid across the change, as a person would make it
BOARD = Path(training.__file__).parents[1] / training.RECORD


@dataclass(frozen=True)
class Score:
    """One answer, held against the truth: errors are log predicted/true, and `shifted` after the best constant of other tasks."""

    truth: Truth
    answer: Answer
    error: float
    shifted: float = 0.0

    @property
    def covered(self) -> bool | None:
        """Whether the interval holds the truth."""
        return None if self.answer.half is None else abs(self.error) <= self.answer.half

    @property
    def regret(self) -> float | None:
        """Of the step, if one is said."""
        return None if self.answer.step is None else self.truth.regret(self.answer.step)

    @property
    def share(self) -> float:
        """Of the gradients of a sweep."""
        return self.answer.cost / (SWEEP * self.truth.cell.horizon)


def cases(truths: Sequence[Truth], family: str) -> list[Case]:
    """All of a family, each with a row whose lines and widths come from other tasks."""
    mine, without = members(truths, family), rows_without(truths, family)
    rows = _with_widths(mine, without)
    best = {key(truth): truth.places["best"][0] for truth in mine if bare(truth)}
    return [
        Case(truth, rows[truth.cell.task], _known(best.get(key(truth))), seed)
        for truth in mine
        for seed in range(SEEDS)
    ]


def _known(place: float | None) -> float | None:
    return None if place is None else float(np.exp(place))


def _with_widths(truths: Sequence[Truth], rows: dict[str, Row]) -> dict[str, Row]:
    quick, full = (outcomes(truths, rows, BUDGETS[budget]) for budget in ("quick", "default"))

    def other(task: str, found: Iterable[Any]) -> list[Any]:
        return [one for one in found if one.truth.cell.task != task]

    return {task: replace(row, widths=widths(other(task, quick), other(task, full))) for task, row in rows.items()}


def scores(all_cases: Sequence[Case]) -> dict[str, list[Score | None]]:
    """By predictor."""
    return {name: shifted([score(predict(case), case.truth) for case in all_cases]) for name, predict in TABLE.items()}


def score(answer: Answer | None, truth: Truth) -> Score | None:
    """None of no answer."""
    return None if answer is None else Score(truth, answer, answer.place - truth.places[answer.target][0])


def shifted(found: Sequence[Score | None]) -> list[Score | None]:
    """Each error also without the median error on other tasks of its family: what a constant could mend."""
    errors = defaultdict(list)
    for one in found:
        if one is not None:
            errors[one.truth.cell.family, one.truth.cell.task].append(one.error)
    constants = {}
    for family, task in errors:
        rest = [error for (f, t), some in errors.items() if f == family and t != task for error in some]
        constants[family, task] = float(np.median(rest)) if rest else 0.0
    return [
        one and replace(one, shifted=one.error - constants[one.truth.cell.family, one.truth.cell.task]) for one in found
    ]


def summary(found: Sequence[Score | None]) -> dict[str, Any]:
    """What one line of the table says."""
    answered = [one for one in found if one is not None]
    if not answered:
        return {"answers": 0, "of": len(found)}
    off = np.exp(np.abs([one.error for one in answered]))
    mended = np.exp(np.abs([one.shifted for one in answered]))
    hits = [one.covered for one in answered if one.covered is not None]
    regrets = [one.regret for one in answered if one.regret is not None]
    costs, shares = [one.answer.cost / one.truth.cell.horizon for one in answered], [one.share for one in answered]
    return {
        "target": answered[0].answer.target,
        "answers": len(answered),
        "of": len(found),
        "off": np.quantile(off, (0.5, 0.95)).tolist(),
        "off_after_constant": np.quantile(mended, (0.5, 0.95)).tolist(),
        "too_large": float(np.mean([one.error > 0 for one in answered])),
        "covered": float(np.mean(hits)) if hits else None,
        "cost_in_horizons": np.quantile(costs, (0.5, 0.9)).tolist(),
        "share_of_sweep": np.quantile(shares, (0.5, 0.9)).tolist(),
        "regret": np.quantile(regrets, (0.5, 0.9)).tolist() if regrets else None,
        "profile": np.quantile(off, np.linspace(0, 1, 41)).tolist(),
    }


def board(truths: Sequence[Truth]) -> dict[str, Any]:
    """Summaries by family and predictor, and of all families together."""
    by_family = {family: scores(cases(truths, family)) for family in families(truths) if family != "other"}
    found = {family: {name: summary(some) for name, some in mine.items()} for family, mine in by_family.items()}
    together = {name: [one for mine in by_family.values() for one in mine[name]] for name in TABLE}
    everything = {"all": {name: summary(some) for name, some in together.items()}} | found
    return origin() | {"cells": len(truths), "of": len(list(cells_of(list(TASKS)))), "families": everything}


def table(found: dict[str, dict[str, Any]], title: str) -> Table:
    """For the terminal."""
    shown = Table(title=title, title_justify="left")
    for head in (
        "predictor",
        "of",
        "off p50/p95",
        "after a constant",
        "too large",
        "covers",
        "cost (T)",
        "sweep",
        "regret",
    ):
        shown.add_column(head, justify="right")
    for name, line in found.items():
        shown.add_row(name, *cells(line))
    return shown


def cells(line: dict[str, Any]) -> list[str]:
    """One line in words."""
    if not line["answers"]:
        return ["–"] * 8

    def pair(values: Sequence[float] | None, form: str = ".2f") -> str:
        return "–" if values is None else "/".join("∞" if value > 1e4 else f"{value:{form}}" for value in values)

    return [
        f"{line['target']} {line['answers']}/{line['of']}",
        pair(line["off"]),
        pair(line["off_after_constant"]),
        f"{line['too_large']:.0%}",
        "–" if line["covered"] is None else f"{line['covered']:.0%}",
        pair(line["cost_in_horizons"], ".1f"),
        pair(line["share_of_sweep"]),
        pair(line["regret"], ".3f"),
    ]


def show(found: dict[str, Any]) -> None:
    """Print all tables."""
    for family, lines in found["families"].items():
        Console(width=150).print(table(lines, f"{family}: predicted against a sweep"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=FOLDER, help=f"where cells are kept (default: {FOLDER})")
    parser.add_argument("--show", action="store_true", help="only show what was written last")
    options = parser.parse_args()
    if not options.show:
        record([Truth(one) for one in Store(options.store).records()])
    show(json.loads(BOARD.read_text(encoding="utf-8")))


def record(truths: Sequence[Truth]) -> None:
    """Score all predictors; write the record and its picture."""
    found = board(truths)
    write(BOARD, found)
    draw(found)
    page(found)


if __name__ == "__main__":
    main()
