"""The largest steps by the predictors that look at messages."""

import math
from dataclasses import replace

from stablestep.errors import InvalidInput
from stablestep.stability.start_point import CriticalStep
from stablestep.torch.survey.found import Limit
from stablestep.torch.survey.points import Survey
from stablestep.torch.survey.predictors import one_step_log
from stablestep.torch.survey.workers import Workers


def limits(workers: Workers, found: Survey) -> list[Limit]:
    """The predictors that look at messages; the loss model and one step where the loss model is tightest on the descent."""
    start = workers.landscape.point()
    models = [point for point in found.points if point.model is not None and point.step is not None]
    if not models:
        reason = "the gradient cannot be told from the noise between batches"
        return [Limit(name, None, None, reason) for name in ("one-step-log", "loss-model")]
    tightest = min((point.model for point in models if point.model is not None), key=lambda model: model.step)
    normalized = min(float(point.step or math.inf) * (1 + point.mean_norm) for point in models)
    finite = [float(point.step or math.inf) for point in models if point.step != math.inf]
    guess = finite[0] if finite else 1.0
    workers.landscape.restart(found.tightest)
    # How far normalization goes is known from the loss model only.
    grown = normalized / tightest.step if math.isfinite(normalized) else 1.0
    one = _one_step(workers, tightest.step if math.isfinite(tightest.step) else guess, grown)
    workers.landscape.restart(start)
    return [one, Limit("loss-model", tightest, _scaled(tightest, grown))]


def _one_step(workers: Workers, guess: float, grown: float) -> Limit:
    try:
        one = one_step_log(workers, guess)
    except InvalidInput as error:
        return Limit("one-step-log", None, None, str(error))
    return Limit("one-step-log", one, _scaled(one, grown))


def _scaled(found: CriticalStep, factor: float) -> CriticalStep:
    return replace(found, step=found.step * factor, low=found.low * factor, high=found.high * factor)
