"""Ours: the ramp with and without runs, and the transfer of a tuned step. Widths are those of the tasks that the table has seen."""

import math

from benchmarks.edges.predictors.base import Answer, Case
from benchmarks.edges.replay import replay
from stablestep.torch.probe.search import BUDGETS, FRACTION
from stablestep.torch.probe.transfer import NORMAL


def _probed(case: Case, budget: str) -> Answer | None:
    outcome = replay(case.truth, case.row, BUDGETS[budget], case.seed)
    if outcome is None:
        return None
    width = case.row.widths["useful"]["runs" if outcome.runs else "ramp"]
    return Answer(outcome.places["useful"], outcome.cost, width * outcome.spreads["useful"], outcome.step)


def default(case: Case) -> Answer | None:
    return _probed(case, "default")


def exact(case: Case) -> Answer | None:
    return _probed(case, "exact")


def quick(case: Case) -> Answer | None:
    return _probed(case, "quick")


def transferred(case: Case) -> Answer | None:
    """From the best step without compression, by the law of the family."""
    if case.base is None or case.truth.cell.omega == 0:
        return None
    guess = case.row.prior("useful", case.base, case.truth.record.noise)
    return Answer(guess.centre, 0, NORMAL * guess.spread, guess.centre + math.log(FRACTION))
