"""Does the theory predict real training? A recorded table: the runs take longer than the whole reproduction."""

import json
import math
from importlib.resources import files
from statistics import median
from typing import Any

import numpy as np

from stablestep import plot
from stablestep.report import Figure, Section, Table
from stablestep.reproduce.context import Context

RECORD = "training.json"
CEILING = 20.0  # of the picture; triangles are above it


def run(context: Context) -> Section:
    """Decides no claim; shows what `python examples/training/predict.py` has recorded."""
    record = json.loads((files("stablestep.reproduce") / RECORD).read_text(encoding="utf-8"))
    context.progress(1.0)
    return Section(
        "training",
        "Real training: predicted and observed steps",
        paragraphs=[
            "Two small networks, a classifier of scikit-learn's digits and a byte-level transformer on Python's standard library, are "
            "trained by plain SGD with N workers and random sparsification (own masks). Observed is the constant step at which half of the "
            "runs from the initialisation end with a mean loss over their last fifth above the first one, by a sweep.",
            "The predictors are those of stablestep.torch.probe, which sees 64 batches and a short descent from the same point; the loss "
            "model and one step are taken where that descent is tightest, the loss model also at the start. Rollouts are short trainings "
            "of half as many steps as the sweep's; the probe rests its advice on them unless told otherwise.",
            f"These numbers were not made by this run: they were recorded on {record['date']} by {record['command']} (make predict).",
        ],
        figures=[_figure(record)],
        tables=[_ratios(record), _summary(record)],
        parameters={"recorded": record["date"], **{name: str(value) for name, value in record["versions"].items()}},
    )


def _figure(record: dict[str, Any]) -> Figure:
    """Every ratio as a point, predictor by predictor; what is infinite, a triangle at the top."""
    figure, ax = plot.panels(width=7.0, height=3.4)
    names, tasks = list(record["rows"][0]["predicted"]), sorted({row["task"] for row in record["rows"]})
    for task, color, shift in zip(tasks, plot.CATEGORIES, np.linspace(-0.12, 0.12, len(tasks))):
        rows = [row for row in record["rows"] if row["task"] == task]
        points = [
            (place + shift, ratio)
            for place, name in enumerate(names)
            for row in rows
            if (ratio := _predicted(row, name))
        ]
        finite = [point for point in points if point[1] <= CEILING]
        ax.scatter(*zip(*finite), color=color, s=22, alpha=0.8, label=task)
        above = [point[0] for point in points if point[1] > CEILING]
        ax.scatter(above, [CEILING] * len(above), color=color, marker="^", s=40, clip_on=False, zorder=5)
    ax.axhline(1, color="black", lw=1)
    ax.set(yscale="log", ylim=(0.003, CEILING), ylabel="predicted / observed")
    ax.set_xticks(range(len(names)), labels=names)
    plot.plain(ax)
    ax.legend()
    caption = "Predicted over observed: a point for each ω and N; above the line the prediction is unsafe, triangles are beyond 20."
    return Figure("training-predicted", figure, caption)


def _ratios(record: dict[str, Any]) -> Table:
    names = list(record["rows"][0]["predicted"])
    rows = [
        [row["task"], row["omega"], row["agents"], row["steps"], _interval(row), *(_ratio(row, name) for name in names)]
        for row in record["rows"]
    ]
    return Table(
        ["task", "ω", "N", "steps", "observed (68 %)", *names], rows, "Largest stable step, predicted over observed."
    )


def _summary(record: dict[str, Any]) -> Table:
    names = list(record["rows"][0]["predicted"])
    rows: list[list[str | float]] = []
    for name in names:
        ratios = [ratio for row in record["rows"] if (ratio := _predicted(row, name)) is not None]
        factors = [max(ratio, 1 / ratio) if ratio > 0 else math.inf for ratio in ratios] or [math.nan]
        above = sum(ratio > 1 for ratio in ratios)
        rows.append(
            [
                name,
                f"{median(factors):.2g}",
                f"{max(factors):.2g}",
                f"{above} of {len(ratios)}",
                len(record["rows"]) - len(ratios),
            ]
        )
    return Table(
        ["predictor", "off by a factor (median)", "at worst", "too large", "no answer"],
        rows,
        "How far each predictor is off, either way; too large: predicted above the observed step.",
    )


def _predicted(row: dict[str, Any], name: str) -> float | None:
    """Over observed; JSON has no infinity, so it stands there as a text."""
    predicted = row["predicted"][name]
    return None if predicted is None else float(predicted) / row["observed"]


def _ratio(row: dict[str, Any], name: str) -> str:
    ratio = _predicted(row, name)
    return "none" if ratio is None else f"{ratio:.2g}"


def _interval(row: dict[str, Any]) -> str:
    return f"{row['observed']:.3g} ({row['low']:.3g} to {row['high']:.3g})"
