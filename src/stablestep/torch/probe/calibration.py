"""What small trainings have taught about ramps and edges: `table.json`, made by `make edges`, and how it is read."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from stablestep.torch.probe.bracket import Guess

TABLE = "table.json"
SUREST = 0.1  # spread of log h of what a table says without a run
EDGES = ("useful", "blow_up", "best")
FAMILIES = ("sgd", "momentum", "adam", "muon", "sign", "other")


@dataclass(frozen=True)
class Line:
    """log h of an edge as a line in a ramp's features, relative to where the ramp stopped.

    Attributes:
        centre, scale: what the features are shifted and divided by.
        weights: of the scaled features.
        offset: at their centre.
        spread, far: of what was left, on models that the line had not seen: its standard deviation, and what 95 of 100 stay within.
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    offset: float
    spread: float
    far: float

    def __call__(self, features: Sequence[float]) -> float:
        """log h over the stop's."""
        scaled = (np.asarray(features) - self.centre) / self.scale
        # Beyond what was seen a line is no better than its end.
        return self.offset + float(np.clip(scaled, -4, 4) @ np.asarray(self.weights))

    def guess(self, features: Sequence[float], stop: float) -> Guess:
        """Of a ramp that stopped at this log h."""
        return Guess(stop + self(features), self.spread, self.far)


@dataclass(frozen=True)
class Row:
    """One family of optimizers.

    Attributes:
        lines: of every edge.
        widths: half-widths of 90 % intervals in standard deviations of what is believed, after the ramp ("ramp") and after runs ("runs").
        known: of every edge, over the best step without compression: its mean logarithm there, the weight of log(1 + s), the spread there,
            and how much spread each log(1 + s) adds.
        share: of the runs that spike, how many are above the blow-up edge.
        start: log of a ramp's first step over `ramp.first_step`.
    """

    lines: Mapping[str, Line]
    widths: Mapping[str, Mapping[str, float]]
    known: Mapping[str, tuple[float, float, float, float]]
    share: float
    start: float

    def prior(self, edge: str, known: float, noise: float) -> Guess:
        """Of an edge, from a step that is known to train well without compression."""
        offset, weight, spread, growth = self.known[edge]
        strength = math.log1p(noise)
        around = max(math.hypot(spread, growth * strength), SUREST)
        return Guess(math.log(known) + offset + weight * strength, around, 2 * around)


@cache
def table() -> dict[str, Any]:
    """The table as it was written."""
    return json.loads((files("stablestep.torch.probe") / TABLE).read_text(encoding="utf-8"))


@cache
def row(family: str) -> Row:
    """What the table says of a family; of one that was not measured what all of them have in common."""
    families = table()["families"]
    return parsed(families.get(family, families["other"]))


def parsed(written: Mapping[str, Any]) -> Row:
    """A row as JSON has it."""
    lines = {name: _line(line) for name, line in written["lines"].items()}
    known = {name: tuple(values) for name, values in written["known"].items()}
    return Row(lines, written["widths"], known, written["share"], written["start"])


def _line(written: Mapping[str, Any]) -> Line:
    centre, scale, weights = (tuple(written[name]) for name in ("centre", "scale", "weights"))
    return Line(centre, scale, weights, written["offset"], written["spread"], written["far"])
