"""Which step does real training bear, and who can say? A recorded scoreboard: the sweeps take longer than the whole reproduction."""

import json
from importlib.resources import files
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawn

from stablestep import plot
from stablestep.report import Figure, Section, Table
from stablestep.reproduce.context import Context

RECORD = "scoreboard.json"
CEILING = 100.0  # of the picture
DRAWN = (
    "ramp, bracket 1.7",
    "ramp alone",
    "transfer",
    "coarse sweep",
    "fastai valley",
    "Lightning",
    "critical sharpness",
    "2/λmax",
    "loss model",
    "theorem",
)
WORDS = (
    "Small trainings of several kinds (regressions, an autoencoder, perceptrons, a convolution, a transformer) are swept over constant "
    "steps, with SGD, momentum, AdamW, Muon and signs, with and without compressed messages. The useful edge is the step above which "
    "half of the runs lose more than half of the attainable fall of the loss, or see twice the first loss.",
    "Every predictor answers for the same trainings. What is fitted (ours, and a constant for each of the others) has not seen the "
    "training's task: models and data of that kind were left out. Learning-rate finders mean the best step and are held against it, "
    "rollouts mean the step at which runs blow up; all others mean the useful edge. Costs are gradients of each worker, in units of a "
    "run's length and of what a sweep of 28 runs takes (median, nine of ten cases); the regret is the share of the attainable fall that "
    "is lost by training with the step that is said (the same two).",
)


def run(context: Context) -> Section:
    """Decides no claim; shows what `make edges` has recorded."""
    record = json.loads((files("stablestep.reproduce") / RECORD).read_text(encoding="utf-8"))
    context.progress(1.0)
    caption = "How far off, either way, in which share of the cases; lower and further right is better."
    return Section(
        "training",
        "Real training: predicted and observed steps",
        paragraphs=[
            *WORDS,
            f"These numbers were not made by this run: they were recorded on {record['date']} by {record['command']}, from "
            f"{record['cells']} of {record['of']} sweeps.",
        ],
        figures=[Figure("training-predicted", profiles(record), caption)],
        tables=[table(record, family) for family in record["families"]],
        parameters={"recorded": record["date"], **{name: str(value) for name, value in record["versions"].items()}},
    )


def profiles(record: dict[str, Any]) -> Drawn:
    """The factor by which each predictor is off, over the share of the cases in which it is at most that."""
    figure, ax = plot.panels(width=7.0, height=3.8)
    lines = record["families"]["all"]
    names = [name for name in DRAWN if lines.get(name, {}).get("answers")]
    for number, name in enumerate(names):
        off = np.minimum(lines[name]["profile"], CEILING)
        color, style = plot.CATEGORIES[number % len(plot.CATEGORIES)], "-" if number < len(plot.CATEGORIES) else "--"
        ax.plot(np.linspace(0, 1, len(off)), off, style, color=color, lw=2.4 if number == 0 else 1.3, label=name)
    ax.set(
        yscale="log", xlim=(0, 1), ylim=(1, CEILING), xlabel="share of the cases", ylabel="off by a factor of at most"
    )
    plot.plain(ax)
    ax.legend(fontsize=8)
    return figure


def table(record: dict[str, Any], family: str) -> Table:
    """All predictors on one family of optimizers, or on all."""
    lines = record["families"][family]
    head = [
        "predictor",
        "means",
        "answers",
        "off, median/95 %",
        "after a constant",
        "covers",
        "gradients / T",
        "of a sweep's",
        "regret",
    ]
    whom = "all optimizers" if family == "all" else family
    return Table(head, [[name, *cells(line)] for name, line in lines.items()], f"Predicted against a sweep: {whom}.")


def cells(line: dict[str, Any]) -> list[str | float]:
    """What one predictor came to."""
    if not line["answers"]:
        return ["–", f"0 of {line['of']}", *["–"] * 6]
    off, constant = ("/".join(map(factor, line[name])) for name in ("off", "off_after_constant"))
    return [
        line["target"],
        f"{line['answers']} of {line['of']}",
        off,
        constant,
        "–" if line["covered"] is None else f"{line['covered']:.0%}",
        f"{line['cost_in_horizons'][0]:.3g}",
        _pair(line["share_of_sweep"]),
        "–" if line["regret"] is None else _pair(line["regret"]),
    ]


def _pair(values: list[float]) -> str:
    return "/".join(f"{value:.2g}" for value in values)


def factor(value: float) -> str:
    """A factor, or that it is hopeless."""
    return "> 1000" if value > 1000 else f"{value:.3g}"
