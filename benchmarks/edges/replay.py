"""The probe on recorded cells: its ramps and runs are drawn from those that were made, the runs with the nearest step."""

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.edges.truth import Truth
from stablestep.torch.probe.calibration import Row
from stablestep.torch.probe.ramp import Ramp
from stablestep.torch.probe.search import EARLY, Budget, NoEdge, Search

NEAREST = 6  # runs among which one is drawn
OVERHEAD = 8  # gradients before the ramp


class Replay(Search):
    """A search whose runs were recorded."""

    truth: Truth
    draws: np.random.Generator

    def run(self, losses, log_step, number):
        recorded = self.truth.record.runs
        logs = np.array(recorded.logs)
        near = np.argsort(np.abs(logs - log_step))[:NEAREST]
        chosen = int(self.draws.choice(near))
        return super().run(lambda step_at, number: recorded.losses[chosen].tolist(), logs[chosen], number)


@dataclass(frozen=True)
class Outcome:
    """One replay: log h of the answers, standard deviations of the beliefs, the step, its cost; None of an answer where it refused."""

    truth: Truth
    places: dict[str, float]
    spreads: dict[str, float]
    step: float
    cost: int
    runs: int

    def error(self, name: str) -> float:
        """log of predicted over true."""
        return self.places[name] - self.truth.places[name][0]


def replay(truth: Truth, row: Row, budget: Budget, seed: int, known: float | None = None) -> Outcome | None:
    """One probe; None if it refused."""
    search = Replay(row, truth.cell.horizon, truth.record.noise, truth.cell.agents)
    search.truth, search.draws = truth, np.random.default_rng([seed, len(truth.record.runs.logs)])
    if known is not None:
        search.known = {name: row.prior(name, known, truth.record.noise) for name in ("useful", "blow_up")}
    ramp = _ramp(truth, seed)
    if not ramp.fired:
        return None
    search.believe(ramp)
    spent = OVERHEAD + len(ramp.losses)

    def gradients() -> int:
        return spent + sum(trial.steps for trial in search.trials)

    try:
        search.narrow(lambda step_at, number: (), budget, gradients)
    except NoEdge:
        return None
    beliefs = search.beliefs
    return Outcome(
        truth,
        {name: belief.median for name, belief in beliefs.items()} | {"best": search.best},
        {name: belief.spread for name, belief in beliefs.items()} | {"best": row.lines["best"].spread},
        math.log(search.step()),
        gradients(),
        search.runs,
    )


def _ramp(truth: Truth, seed: int) -> Ramp:
    """One of those recorded; the lowest where this one was over at once, as the probe itself begins again lower."""
    ramp = truth.ramps[seed % len(truth.ramps)]
    if len(ramp.losses) <= EARLY * max(1.0, truth.cell.horizon / 100):
        return min(truth.ramps, key=lambda one: one.start)
    return ramp
