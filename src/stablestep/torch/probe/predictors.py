"""Ways to answer a probe, each a function of a trainer and a question: adding one takes a function and a line of the table."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stablestep.errors import require
from stablestep.stability.ladder import edge as ladder
from stablestep.stability.start_point import CriticalStep
from stablestep.torch.probe.advice import Edge, Trial
from stablestep.torch.probe.calibration import row
from stablestep.torch.probe.ramp import first_step
from stablestep.torch.probe.reading import Run
from stablestep.torch.probe.search import FRACTION, Budget, Search
from stablestep.torch.probe.trainer import Trainer
from stablestep.torch.survey import predictors as survey
from stablestep.torch.survey import theory
from stablestep.torch.survey.points import look_around
from stablestep.torch.survey.report import constants_of

KNOWN_BELOW = math.log(2**6)  # a ramp begins so far below a known edge
USUAL = 1.33  # blow-up edge over useful edge, in the median
BLOW_UP = "half of the runs from here have blown up, or have a mean loss over their last fifth above the first loss"


@dataclass(frozen=True)
class Question:
    """How much may be spent, and the step that is known to train well without compression, if one is."""

    budget: Budget
    known: float | None = None


@dataclass(frozen=True)
class Prediction:
    """An answer; see `ProbeAdvice`."""

    step: float | None = None
    useful: Edge | None = None
    blow_up: Edge | None = None
    best: Edge | None = None
    status: str = "predicted"
    trials: tuple[Trial, ...] = field(default=())


class Stopped(Exception):
    """Ctrl-C, and what was known by then."""

    def __init__(self, prediction: Prediction | None):
        super().__init__()
        self.prediction = prediction


def ramp(trainer: Trainer, question: Question) -> Prediction:
    """A ramp, read with the table, and runs until the edge is bracketed."""
    read, noise = row(trainer.family), trainer.noise
    search = Search(read, trainer.horizon, noise, trainer.workers.agents)
    try:
        start = math.log(first_step(trainer.family, trainer.scale(), noise)) + read.start
        if question.known is not None:
            search.known = {name: read.prior(name, question.known, noise) for name in ("useful", "blow_up")}
            start = search.known["useful"].centre - KNOWN_BELOW
            search.endless = f"known = {question.known:g} may be far off, so leave it out"
        elif trainer.rule is not None:
            search.endless = f"with {type(trainer.rule).__name__} there may be no edge, so choose the learning rate by the loss's fall"
        search.ramp(trainer.losses, start)
        search.narrow(trainer.losses, question.budget, lambda: trainer.spent)
    except KeyboardInterrupt:
        raise Stopped(_answer(search, "interrupted") if search.beliefs else None) from None
    return _answer(search, "bracketed" if search.bracketed else "ramp only")


def _answer(search: Search, status: str) -> Prediction:
    useful, blow_up = search.edge("useful"), search.edge("blow_up")
    return Prediction(search.step(), useful, blow_up, search.best_edge(), status, tuple(search.trials))


class _Members:
    """Runs for the ladder of `stability`."""

    def __init__(self, trainer: Trainer, members: int = 8):
        self.trainer, self.members, self.seed = trainer, members, trainer.workers.settings.seed

    def __call__(self, etas: np.ndarray, length: int, batch: int) -> "_Round":
        runs = [self._run(float(eta), length, 1000 * (1 + batch) + member) for member, eta in enumerate(etas)]
        return _Round(np.array([run.blown for run in runs]), sum(len(run.losses) for run in runs))

    def _run(self, step: float, length: int, number: int) -> Run:
        run = Run(length)
        for loss in self.trainer.losses(lambda t: step, number):
            run.add(loss)
            if run.over or run.lost:
                break
        return run


@dataclass(frozen=True)
class _Round:
    up: np.ndarray
    steps: int


def rollouts(trainer: Trainer, question: Question) -> Prediction:
    """The blow-up edge by rounds of short runs, each placed where the answer is still open."""
    centre = math.log(first_step(trainer.family, trainer.scale(), trainer.noise)) + KNOWN_BELOW / 2
    found = ladder(_Members(trainer), centre, BLOW_UP, trainer.horizon, trainer.horizon, tolerance=0.1)
    return _blow_up(found)


def loss_model(trainer: Trainer, question: Question) -> Prediction:
    """Where the second-order model of one step's loss is 0, at the tightest point of a short descent of plain SGD."""
    models = [point.model for point in _looked(trainer).points if point.model is not None and point.model.step > 0]
    require(models, "the gradient cannot be told from the noise between batches, so the loss model has no answer.")
    return _blow_up(min(models, key=lambda model: model.step))


def one_step_log(trainer: Trainer, question: Question) -> Prediction:
    """The largest h with E log f(x − hM)/f(x) ≤ 0 from where the model stands."""
    _plain(trainer)
    return _blow_up(survey.one_step_log(trainer.workers, trainer.scale()))


def theorem(trainer: Trainer, question: Question) -> Prediction:
    """The limit of the theorem that covers the compressor, with constants from a short descent."""
    looked = _looked(trainer)
    constants, *_ = constants_of(trainer.workers, looked)
    limit = theory.limit(constants, [point for point in looked.points if point.descent])
    require(limit.constant is not None, f"the theorem has no answer: {limit.reason}.")
    return _blow_up(limit.constant)


def _looked(trainer: Trainer) -> Any:
    _plain(trainer)
    return look_around(trainer.workers, 12)


def _plain(trainer: Trainer) -> None:
    require(
        trainer.family in ("sgd", "sign") and trainer.rule is None and not trainer.workers.settings.remembers,
        'this predictor knows plain SGD without memory only; use predictor="ramp".',
    )


def _blow_up(found: CriticalStep | None) -> Prediction:
    assert found is not None
    edge = Edge(found.step, found.low, found.high)
    return Prediction(FRACTION / USUAL * found.low, None, edge, None, "predicted")


PREDICTORS: dict[str, Callable[[Trainer, Question], Prediction]] = {
    "ramp": ramp,
    "rollouts": rollouts,
    "one-step-log": one_step_log,
    "loss-model": loss_model,
    "theorem": theorem,
}
