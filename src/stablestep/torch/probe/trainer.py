"""Training a copy of the model from where it stands, as N workers would: the user's optimizer on the mean message, with memory."""

import copy
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from stablestep.errors import InvalidInput, require, shown, whole
from stablestep.torch.step.rule import Rule, Seen
from stablestep.torch.survey.workers import Memory, Workers

Tensor = torch.Tensor
MakeOptimizer = Callable[[Any], torch.optim.Optimizer]
SHORTEST = 20  # horizon
REUSED = 16  # how often a run may see the same batch, in the mean
_RUN, _SCALE = 20, 21  # names of randomness


class Trainer:
    """Runs from the same start, each by an optimizer of its own.

    Args:
        workers: N of them, around a copy of the model.
        optimizer: makes one of a list of parameters; its first group's learning rate is the step, other groups stay in proportion.
        horizon: T, how long the real training goes on, or the part of it that the advice is for.
        rule: a rule of `stablestep.torch.rule` that multiplies every learning rate, if there is one.

    Raises:
        InvalidInput: if the optimizer is none, or needs a closure or has no learning rate; if the horizon is below 20, batches are too
            few for it, or the loss at the start is not positive.
    """

    def __init__(self, workers: Workers, optimizer: MakeOptimizer, horizon: int, rule: Rule | None = None):
        self.workers, self.make, self.rule = workers, optimizer, rule
        self.horizon = whole("horizon", horizon, least=SHORTEST)
        self.landscape, self.start = workers.landscape, workers.landscape.point()
        self.optimizer = self._made()
        self._enough()
        self.first = self.landscape.value()
        require(
            0 < self.first < math.inf,
            f"the loss at the start is {self.first:.6g}, but losses are read relative to it, so it must be positive; add a constant.",
        )
        self.spent = -(-len(self.landscape.pool[:16]) // workers.agents)

    def _made(self) -> torch.optim.Optimizer:
        require(callable(self.make), f"optimizer is {shown(self.make)}, but must make one, such as torch.optim.AdamW.")
        made = self.make(self.landscape.parameters)
        require(
            isinstance(made, torch.optim.Optimizer),
            f"optimizer gave a {type(made).__name__}, but must give a torch.optim.Optimizer.",
        )
        closure = inspect.signature(type(made).step).parameters.get("closure")
        require(
            closure is None or closure.default is not inspect.Parameter.empty,
            f"{type(made).__name__} needs a closure, but a mean message is a gradient at one point only; use another optimizer.",
        )
        rates = [group["lr"] for group in made.param_groups]
        require(
            all(float(rate) > 0 for rate in rates[:1]),
            f"the learning rate of {type(made).__name__} is {rates[0]}, but must be positive, so that others have a proportion to it.",
        )
        return made

    def _enough(self) -> None:
        needed = -(-self.workers.agents * self.horizon // REUSED)
        have = len(self.landscape.pool)
        require(
            have >= needed,
            f"batches has {have} of them, but {self.workers.agents} workers and {self.horizon} steps need {needed}, so that a run does "
            "not learn them by heart; give more batches or a shorter horizon.",
        )

    def losses(self, step_at: Callable[[int], float], run: int) -> Iterator[float]:
        """The workers' mean losses, relative to the first, before each step; the caller stops when it has seen enough.

        Args:
            step_at: the step at each time, from 0.
            run: its number, by which batches and messages are drawn.
        """
        optimizer, rule = self._begin()
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        memory: Memory = {}
        for number in range(2**31):
            loss, gradients = self.workers.gradients(_RUN, run, number)
            self.spent += 1
            yield loss / self.first
            if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
                yield math.inf
                return
            self._give(self.workers.exchange(gradients, memory, _RUN, run, number))
            factor = step_at(number) / rates[0]
            if rule is not None:
                factor *= rule.factor(self._seen(gradients, step_at(number)))
            for group, rate in zip(optimizer.param_groups, rates):
                group["lr"] = rate * factor
            optimizer.step()

    def scale(self) -> float:
        """f/⟨∇f, u⟩ at the start, u what the optimizer's first step of length 1 moves by, without compression."""
        slopes = [self._slope(number) for number in range(4)]
        self.restart()
        slope = sum(slopes) / len(slopes)
        require(
            0 < slope < math.inf,
            f"the first step of {type(self.optimizer).__name__} goes along a slope of {slope:.3g}, but must go downhill; "
            "begin where the gradient is not 0.",
        )
        return self.first / slope

    def _slope(self, number: int) -> float:
        optimizer, rule = self._begin()
        rate = float(optimizer.param_groups[0]["lr"])
        _, gradients = self.workers.gradients(_SCALE, number)
        self.spent += 1
        mean = torch.stack(gradients).mean(0)
        # Signs have no size that would be the gradient's.
        self._give(self.workers.message(gradients, _SCALE, number) if self.workers.signs else mean)
        if rule is not None:
            rate /= rule.factor(self._seen(gradients, rate))
        optimizer.step()
        return float(mean @ (self.start - self.landscape.point())) / rate

    def restart(self) -> None:
        """Back to the start."""
        self.landscape.restart(self.start)

    def _begin(self) -> tuple[torch.optim.Optimizer, Rule | None]:
        self.restart()
        return self._made(), copy.deepcopy(self.rule)

    def _give(self, message: Tensor) -> None:
        for parameter, piece in zip(self.landscape.parameters, message.split(self.landscape.sizes)):
            parameter.grad = piece.view_as(parameter).clone()

    def _seen(self, gradients: list[Tensor], step: float) -> Seen:
        norm = sum(float(gradient.norm()) for gradient in gradients) / len(gradients)
        return Seen(mean_norm=norm, lr=step, initial_lr=step, parameters=self.landscape.parameters)

    @property
    def family(self) -> str:
        """The row of the table that this optimizer and these messages belong to."""
        if self.workers.signs:
            return "sign"
        if isinstance(self.optimizer, torch.optim.SGD):
            return "momentum" if self.optimizer.param_groups[0]["momentum"] else "sgd"
        return "adam" if isinstance(self.optimizer, ADAPTIVE) else "other"

    @property
    def noise(self) -> float:
        """s: ω/N of own masks, ω of a shared one, 0 of biased messages and of those with memory."""
        if not self.workers.unbiased:
            return 0.0
        shared = self.workers.settings.shared
        return self.workers.omega / (1 if shared else self.workers.agents)


ADAPTIVE = (torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adamax)


def plain(parameters: Any) -> torch.optim.Optimizer:
    """What the advice is for where no optimizer is given."""
    return torch.optim.SGD(parameters, lr=1.0)


def checked_rule(rule: Any) -> Rule | None:
    """Raise unless it is a rule of `stablestep.torch.rule`, or None."""
    if rule is not None and not isinstance(rule, Rule):
        raise InvalidInput(f"rule is {shown(rule)}, but must be a rule such as stablestep.torch.rule.LocalNorms().")
    return rule
