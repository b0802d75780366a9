"""How large may a constant step of SGD be from here: predictors that need a model and batches only."""

import math

import numpy as np
import torch
from jaxtyping import Float

from stablestep.errors import require
from stablestep.estimate import of_mean
from stablestep.stability.root import bisect, bracket
from stablestep.stability.start_point import CriticalStep, symmetric
from stablestep.torch.survey.workers import Workers

Tensor = torch.Tensor
_MODEL, _SLOPE, _ONE = range(10, 13)  # names of randomness
MESSAGES = 16
TRIES = 12  # doublings in search of a bracket


def loss_model(workers: Workers, index: int, mean: Tensor, slope: float | None, messages: int = 6) -> CriticalStep:
    """2 E⟨∇f, M⟩/E MᵀHM over mean messages M, where the second-order model of one step's loss is 0.

    `mean` is ∇f, and `slope` E⟨∇f, M⟩ where it is known: ‖∇f‖² for unbiased compressors.
    """
    definition = "where the second-order model of one step's loss is 0: a model, no bound"
    slopes, bent = [], []
    for number in range(messages):
        message = workers.drawn_message(_MODEL, index, number)
        batches = [workers.batch(_SLOPE, index, number, extra) for extra in range(2)]
        size = length(message)
        along = message / max(size, torch.finfo(message.dtype).tiny)
        slopes.append(float(mean.double() @ message.double()) if slope is None else slope)
        bent.append(size**2 * float(along @ workers.landscape.curvature(batches, along)))
    return _ratio(np.array(slopes), np.array(bent), definition, messages * (workers.agents + 5))


def _ratio(slopes: Float[np.ndarray, " k"], bent: Float[np.ndarray, " k"], definition: str, cost: int) -> CriticalStep:
    slope, curvature = float(slopes.mean()), float(bent.mean())
    require(
        math.isfinite(slope) and math.isfinite(curvature),
        "a gradient, or the curvature along it, is not finite or beyond what the parameters' type holds; give the loss in other units, or "
        "begin where training is healthy.",
    )
    if curvature <= 0 or slope <= 0:
        step = math.inf if slope > 0 else 0.0
        return CriticalStep(step, step, step, "never", "loss-model", definition, cost)
    step, spread = 2 * slope / curvature, of_mean(slopes / slope - bent / curvature)
    return CriticalStep(step, *symmetric(step, spread.high - spread.value), "formula", "loss-model", definition, cost)


def one_step_log(workers: Workers, guess: float, messages: int = MESSAGES) -> CriticalStep:
    """The largest h with E log f(x − hM)/f(x) ≤ 0 on real messages, by doubling from `guess` and bisection."""
    definition, grown = "the largest h with E log f(x − hM)/f(x) ≤ 0", _LogGrowth(workers, messages)
    low, high = bracket(grown.over, math.log(guess), far=TRIES)
    if not math.isfinite(high) or not math.isfinite(low):
        grown.restart()
        step = math.inf if math.isinf(high) else 0.0
        return CriticalStep(step, step, step, "never", "one-step-log", definition, grown.cost)
    low, high = bisect(grown.over, low, high, tolerance=0.02)
    below, above = grown(low - 0.1), grown(high + 0.1)
    grown.restart()
    slope = float(above.mean() - below.mean()) / (high - low + 0.2)
    error = (of_mean(above).high - float(above.mean())) / slope if slope > 0 else math.inf
    step = math.exp((low + high) / 2)
    return CriticalStep(step, *symmetric(step, min(error, 10.0)), "sharp", "one-step-log", definition, grown.cost)


def length(vector: Tensor) -> float:
    """‖v‖, where its square is beyond what float32 holds too."""
    return float(vector.double().norm())


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

    def over(self, log_step: float) -> bool:
        """Whether the mean is above 0."""
        return float(self(log_step).mean()) > 0

    def restart(self) -> None:
        """Back to the start."""
        self.landscape.restart(self.start)


def _log_ratio(value: float, first: float) -> float:
    """A loss that is not finite counts as e⁴⁰ times the first."""
    return math.log(max(value, 1e-300) / first) if math.isfinite(value) else 40.0
