"""The ladder of rounds of short runs, for the edge at which runs blow up; runs are those recorded with the nearest steps."""

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.edges.predictors.base import Answer, Case
from benchmarks.edges.replay import NEAREST
from stablestep.stability.ladder import edge


@dataclass(frozen=True)
class Round:
    up: np.ndarray
    steps: int


class Members:
    """Eight at a time."""

    members, seed = 8, 0

    def __init__(self, case: Case):
        self.case = case

    def __call__(self, etas, length, batch, /):
        runs = self.case.truth.record.runs
        near = [np.argsort(np.abs(np.array(runs.logs) - math.log(eta)))[:NEAREST] for eta in etas]
        read = [runs.read[int(self.case.draws.choice(some))] for some in near]
        return Round(np.array([run.blown for run in read]), length * len(read))


def predict(case: Case) -> Answer | None:
    horizon = case.truth.cell.horizon
    found = edge(Members(case), math.log(case.truth.record.scale), "", horizon, horizon, tolerance=0.1)
    if not 0 < found.step < math.inf:
        return None
    return Answer(math.log(found.step), found.cost, math.log(found.high / found.step) * 1.645, target="blow_up")
