"""A coarse sweep: a run for every octave from far below upwards, until two in a row are too hot."""

import math

import numpy as np

from benchmarks.edges.predictors.base import Answer, Case

FROM, TO = -8, 8  # octaves from the scale


def predict(case: Case) -> Answer | None:
    runs, lowest, cost = case.truth.record.runs, 1.0, 0
    logs, seen = np.array(runs.logs), []
    for octave in range(FROM, TO):
        wanted = math.log(case.truth.record.scale) + octave * math.log(2)
        near = np.argsort(np.abs(logs - wanted))[:2]
        place = int(case.draws.choice(near))
        run = runs.read[place]
        seen.append((logs[place], run.tail, run.too_hot(lowest)))
        cost += run.spike or run.horizon
        lowest = lowest if run.spiked else min(lowest, run.tail)
        if len(seen) > 2 and seen[-1][2] and seen[-2][2] and not all(hot for *_, hot in seen):
            break
    fine = [log for log, tail, _ in seen if tail <= (1 + min(lowest, 0.95)) / 2]
    if not fine or not seen[-1][2]:
        return None
    step = min(seen, key=lambda one: one[1])[0]
    return Answer(max(fine) + math.log(2) / 2, cost, math.log(2), step)
