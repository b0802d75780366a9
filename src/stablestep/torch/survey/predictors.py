"""How large may a constant step of SGD be from here: predictors that need a model and batches only."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from stablestep.errors import require
from stablestep.estimate import of_mean
from stablestep.stability.ladder import edge
from stablestep.stability.start_point import BLOWN, CriticalStep, symmetric
from stablestep.torch.survey.workers import Workers

Tensor = torch.Tensor
_MODEL, _SLOPE, _ONE, _ROLL = range(10, 14)  # names of randomness
MESSAGES = 16
LOOKS = 5  # at the loss, in the last fifth of a run
EDGE = "half of the runs from here have blown up, or have a mean loss over their last fifth above the first loss"


def loss_model(workers: Workers, index: int, mean: Tensor, slope: float | None, messages: int = 6) -> CriticalStep:
    """2 E⟨∇f, M⟩/E MᵀHM over mean messages M, where the second-order model of one step's loss is 0.

    `mean` is ∇f, and `slope` E⟨∇f, M⟩ where it is known: ‖∇f‖² for unbiased compressors.
    """
    definition = "where the second-order model of one step's loss is 0: a model, no bound"
    slopes, bent = [], []
    for number in range(messages):
        message = workers.drawn_message(_MODEL, index, number)
        batches = [workers.batch(_SLOPE, index, number, extra) for extra in range(2)]
        slopes.append(float(mean @ message) if slope is None else slope)
        bent.append(float(message @ workers.landscape.curvature(batches, message)))
    return _ratio(np.array(slopes), np.array(bent), definition, messages * (workers.agents + 5))


def _ratio(slopes: Float[np.ndarray, " k"], bent: Float[np.ndarray, " k"], definition: str, cost: int) -> CriticalStep:
    slope, curvature = float(slopes.mean()), float(bent.mean())
    if curvature <= 0 or slope <= 0:
        step = math.inf if slope > 0 else 0.0
        return CriticalStep(step, step, step, "never", "loss-model", definition, cost)
    step, spread = 2 * slope / curvature, of_mean(slopes / slope - bent / curvature)
    return CriticalStep(step, *symmetric(step, spread.high - spread.value), "formula", "loss-model", definition, cost)


def one_step_log(workers: Workers, guess: float, messages: int = MESSAGES) -> CriticalStep:
    """The largest h with E log f(x − hM)/f(x) ≤ 0 on real messages, by doubling from `guess` and bisection."""
    definition, grown = "the largest h with E log f(x − hM)/f(x) ≤ 0", _LogGrowth(workers, messages)
    low, high = _bracket(grown.mean, math.log(guess))
    grown.restart()
    if not math.isfinite(high) or not math.isfinite(low):
        step = math.inf if math.isinf(high) else 0.0
        return CriticalStep(step, step, step, "never", "one-step-log", definition, grown.cost)
    while high - low > 0.02:
        middle = (low + high) / 2
        low, high = (middle, high) if grown.mean(middle) <= 0 else (low, middle)
    below, above = grown(low - 0.1), grown(high + 0.1)
    grown.restart()
    slope = float(above.mean() - below.mean()) / (high - low + 0.2)
    error = (of_mean(above).high - float(above.mean())) / slope if slope > 0 else math.inf
    step = math.exp((low + high) / 2)
    return CriticalStep(step, *symmetric(step, min(error, 10.0)), "sharp", "one-step-log", definition, grown.cost)


class _LogGrowth:
    """log f(x − hM)/f(x) from where the model stands, always for the same messages M."""

    def __init__(self, workers: Workers, messages: int):
        self.landscape = workers.landscape
        self.start, self.first = self.landscape.point(), self.landscape.value()
        require(
            self.first > 0,
            f"the loss is {self.first:.6g}, but the one-step criterion takes its logarithm; add a constant to it.",
        )
        self.messages = [workers.drawn_message(_ONE, number) for number in range(messages)]
        self.cost = messages * workers.agents

    def __call__(self, log_step: float) -> Float[np.ndarray, " k"]:
        self.cost += len(self.messages)
        found = []
        for message in self.messages:
            self.landscape.step(self.start, math.exp(log_step), message)
            found.append(_log_ratio(self.landscape.value(), self.first))
        return np.array(found)

    def mean(self, log_step: float) -> float:
        return float(self(log_step).mean())

    def restart(self) -> None:
        """Back to the start."""
        self.landscape.restart(self.start)


def _log_ratio(value: float, first: float) -> float:
    """A loss that is not finite counts as e⁴⁰ times the first."""
    return math.log(max(value, 1e-300) / first) if math.isfinite(value) else 40.0


def _bracket(mean: Callable[[float], float], centre: float) -> tuple[float, float]:
    """log h below and above the root; ∓∞ where none is found within a factor 4096."""
    low = high = centre
    upward = mean(centre) <= 0
    for _ in range(12):
        if upward:
            low, high = high, high + math.log(2)
            if mean(high) > 0:
                return low, high
        else:
            low, high = low - math.log(2), low
            if mean(low) <= 0:
                return low, high
    return (low, math.inf) if upward else (-math.inf, high)


@dataclass(frozen=True)
class Trained:
    """Which of the short trainings ended up, and how many steps all took."""

    up: Bool[np.ndarray, " members"]
    steps: int


class ShortTrainings:
    """Runs of SGD from the same start on real messages, each with a step of its own: η, or normalized, η/(1 + Ĝ)."""

    def __init__(self, workers: Workers, members: int, normalized: bool = False):
        self.workers, self.members, self.normalized = workers, members, normalized
        self.seed = workers.settings.seed
        self.start, self.first = workers.landscape.point(), workers.landscape.value()
        self.ceiling = self.first + BLOWN * max(abs(self.first), 1e-12)

    def __call__(self, etas: Float[np.ndarray, " members"], length: int, batch: int = 0) -> Trained:
        """Run all members for `length` steps."""
        ends = [self._end(float(eta), length, batch, member) for member, eta in enumerate(etas)]
        self.workers.landscape.restart(self.start)
        return Trained(np.array([up for up, _ in ends]), sum(steps for _, steps in ends))

    def _end(self, eta: float, length: int, batch: int, member: int) -> tuple[bool, int]:
        landscape, last, looks = self.workers.landscape, max(1, length // 5), []
        landscape.restart(self.start)
        x = self.start
        for step in range(length):
            names = (_ROLL, batch, member, step)
            loss, gradients = self.workers.gradients(*names)
            if not loss <= self.ceiling:
                return True, step + 1
            x = landscape.step(x, self._step(eta, gradients), self.workers.message(gradients, *names))
            if (length - 1 - step) % max(1, last // LOOKS) == 0 and step >= length - last:
                looks.append(landscape.value())
        return not sum(looks) / len(looks) <= self.first, length

    def _step(self, eta: float, gradients: list[Tensor]) -> float:
        if not self.normalized:
            return eta
        return eta / (1 + sum(float(gradient.norm()) for gradient in gradients) / len(gradients))


def rollouts(
    workers: Workers, guess: float, steps: int, longest: int, members: int = 8, normalized: bool = False
) -> CriticalStep:
    """η50(T) by the ladder of short runs on real messages, for T = `steps`, tripled until the answer stays (at most `longest`)."""
    return edge(ShortTrainings(workers, members, normalized), math.log(guess), EDGE, steps, longest, tolerance=0.1)
