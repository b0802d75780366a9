"""What a probe found: edges with intervals, a step to train with, what it cost, and every run that was made for it."""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table

from stablestep.claim import plain
from stablestep.torch.survey.found import written

FITTED = (100, 300)  # horizons of the small trainings that made the table


@dataclass(frozen=True)
class Edge:
    """A step, and the interval that is to hold the truth in 90 of 100 cases."""

    step: float
    low: float
    high: float

    @classmethod
    def of(cls, centre: float, half: float) -> "Edge":
        """From log h and the interval's half-width there.

        >>> Edge.of(0.0, 1.0).high == math.e
        True
        """
        return cls(math.exp(centre), math.exp(centre - half), math.exp(centre + half))

    def above(self, other: "Edge") -> "Edge":
        """At least the other one, at every end."""
        return Edge(max(self.step, other.step), max(self.low, other.low), max(self.high, other.high))

    def __str__(self) -> str:
        return f"{self.step:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Trial:
    """One run: its step (of a ramp: the last one), how many steps it made, its mean relative loss over the last fifth, and how it ended."""

    step: float
    steps: int
    tail: float
    ended: str


@dataclass(frozen=True)
class ProbeAdvice:
    """The largest steps that a training bears from where it stands, and one to train with.

    Attributes:
        step: to train with; None where the predictor says nothing of it.
        useful: half of the runs with this step lose more than half of the attainable fall, or see twice the first loss.
        blow_up: half of the runs end above the first loss, or see a thousand times as much.
        best: the step with the lowest loss at the end, as far as the ramp tells.
        cost: gradients of each worker.
        status: "bracketed" by runs on both sides, "ramp only", "interrupted", or "predicted" without runs.
        horizon: for how many steps this holds.
        family: the row of the table that was used.
        noise: s, ω/N of own masks, ω of a shared one.
        trials: the ramp and the runs.
        seconds: how long it took.
    """

    step: float | None
    useful: Edge | None
    blow_up: Edge | None
    best: Edge | None
    cost: int
    status: str
    horizon: int
    family: str
    noise: float
    trials: tuple[Trial, ...]
    seconds: float

    @property
    def verdict(self) -> str:
        """In sentences."""
        parts = []
        if self.step is not None:
            parts.append(f"Train with a step of {self.step:.3g}.")
        if self.useful is not None:
            parts.append(
                f"Above {self.useful} half of the runs of {self.horizon} steps lose half of what they could gain."
            )
        if self.blow_up is not None:
            parts.append(f"Above {self.blow_up} half of them end above the first loss.")
        if self.best is not None and self.useful is not None and self.best.low > self.useful.high:
            parts.append(
                f"The ramp expected the best step higher, at {self.best}: one of the two is wrong, as where the losses are noisier than "
                "their fall; give larger batches or a longer horizon."
            )
        if self.status == "ramp only":
            parts.append("This rests on one ramp; runs on both sides of the edge make it three times as sharp.")
        if self.status != "predicted" and not FITTED[0] <= self.horizon <= FITTED[1]:
            fitted = f"{FITTED[0]} to {FITTED[1]} steps"
            parts.append(
                f"The ramp was fitted to horizons of {fitted}: {self.horizon} is an extrapolation; try larger steps too."
            )
        parts.append(f"Cost: {self.cost} gradients of each worker.")
        return " ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it; what is not finite is None."""
        found: Mapping[str, Any] = plain(asdict(self) | {"verdict": self.verdict})
        return dict(found)

    def save(self, path: Path | str) -> Path:
        """Write `to_dict()` as JSON.

        Raises:
            InvalidInput: if the file cannot be written.
        """
        return written(path, json.dumps(self.to_dict(), indent=1, ensure_ascii=False).encode())

    def __rich__(self) -> Group:
        title = f"{self.family}, {self.horizon} steps, compression noise s = {self.noise:.3g}"
        shown = Table(title=title, title_justify="left")
        for head in ("", "step", "steps", "last losses over the first", "ended"):
            shown.add_column(head, justify="right")
        for number, trial in enumerate(self.trials):
            tail = f"{trial.tail:.3g}" if trial.ended in ("below", "above") else "–"
            shown.add_row(str(number), f"{trial.step:.3g}", str(trial.steps), tail, trial.ended)
        return Group(shown, self.verdict)

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=110, highlight=False)
        console.print(self)
        return console.file.getvalue().rstrip()  # pyright: ignore[reportAttributeAccessIssue]

    def __repr__(self) -> str:
        return str(self)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a probe; `advice` is what was known by then, None before the ramp was over."""

    def __init__(self, advice: ProbeAdvice | None, cost: int):
        said = "nothing is known before the ramp is over" if advice is None else f"so far: {advice.verdict}"
        super().__init__(f"The probe was interrupted after {cost} gradients of each worker; {said}")
        self.advice = advice
