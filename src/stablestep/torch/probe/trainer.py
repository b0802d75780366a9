"""Training a copy of the model from where it stands, as N workers would: the user's optimizer on the mean message, with memory."""

import copy
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from stablestep.errors import InvalidInput, require, shown, whole
from stablestep.torch.step.chained import ChainedOptimizer
from stablestep.torch.step.optimizer import StableStep
from stablestep.torch.step.rule import LocalNorms, Rule, Seen
from stablestep.torch.survey.predictors import length
from stablestep.torch.survey.workers import Memory, Workers

Tensor = torch.Tensor
MakeOptimizer = Callable[[Any], torch.optim.Optimizer]
SHORTEST = 20  # horizon
_RUN, _SCALE = 20, 21  # names of randomness
CLEAR = 2.0**10  # a first step this much shorter or longer than the point drowns in rounding, or drowns the point
FURTHEST = 2.0**20  # how much larger or smaller the next one is made at most
ATTEMPTS = 20
ROOM = 1e3  # below the largest number of the parameters' type: optimizers multiply the step


class Trainer:
    """Runs from the same start, each by an optimizer of its own.

    Args:
        workers: N of them, around a copy of the model.
        optimizer: makes one of a list of parameters; its first group's learning rate is the step, other groups stay in proportion.
        horizon: T, how long the real training goes on, or the part of it that the advice is for.
        rule: a rule of `stablestep.torch.rule` that multiplies every learning rate, if there is one.

    Raises:
        InvalidInput: if the optimizer is none, is a StableStep, needs a closure, has no learning rate or other parameters; if the horizon
            is below 20, batches are too few for it, or the loss at the start is not positive.
    """

    def __init__(self, workers: Workers, optimizer: MakeOptimizer, horizon: int, rule: Rule | None = None):
        self.workers, self.make, self.rule = workers, optimizer, rule
        self.horizon = whole("horizon", horizon, least=SHORTEST)
        self.landscape, self.start = workers.landscape, workers.landscape.point()
        self.most = torch.finfo(torch.promote_types(self.start.dtype, torch.float32)).max / ROOM
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
        require(
            not isinstance(made, StableStep),
            "optimizer gave a StableStep, whose hook no gradient goes through here; give the optimizer inside it, and its rule as rule=….",
        )
        self._holds_ours(made)
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

    def _holds_ours(self, made: torch.optim.Optimizer) -> None:
        held = {id(parameter) for group in made.param_groups for parameter in group["params"]}
        foreign = len(held - {id(parameter) for parameter in self.landscape.parameters})
        require(
            not foreign,
            f"{foreign} of the optimizer's parameters are not those that it was given, which are a copy's; make it of its argument, such "
            "as lambda parameters: torch.optim.AdamW(parameters).",
        )

    def _enough(self) -> None:
        have, needed = len(self.landscape.pool), self.workers.batches(self.horizon)
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
            finite = _finite(loss, gradients)
            if not finite:
                self._blame(run, number)
            yield loss / self.first
            if not finite:
                yield math.inf
                return
            self._give(self.workers.exchange(gradients, memory, _RUN, run, number))
            factor = step_at(number) / rates[0]
            if rule is not None:
                factor *= rule.factor(self._seen(gradients, step_at(number)))
            require(
                max(rates) * factor < self.most,
                f"a step of {step_at(number):.3g} is more than parameters in {self.start.dtype} can be moved by; give the loss, or known, "
                "in other units.",
            )
            for group, rate in zip(optimizer.param_groups, rates):
                group["lr"] = rate * factor
            optimizer.step()

    def _blame(self, run: int, number: int) -> None:
        """Raise where the batches of a step, and not its parameters, are why a loss or gradient is not finite."""
        self.restart()
        self.spent += 1
        require(
            _finite(*self.workers.gradients(_RUN, run, number)),
            "a batch has a loss or gradient that is not finite at the start already, where nothing was trained; leave such batches out.",
        )

    def scale(self) -> float:
        """f/⟨∇f, u⟩ at the start, u what the optimizer's first step of length 1 moves by, without compression."""
        slopes, lengths = zip(*(self._slope(number) for number in range(4)))
        self.restart()
        slope, name = sum(slopes) / len(slopes), type(self.optimizer).__name__
        require(sum(lengths) > 0, "the gradient at the start is 0; begin where it is not.")
        require(
            math.isfinite(slope) and slope != 0,
            f"the first step of {name} is 0 or not finite: the gradient, or its square, may be beyond what {self.start.dtype} holds; give "
            "the loss in other units.",
        )
        require(slope > 0, f"the first step of {name} goes along a slope of {slope:.3g}, but must go downhill.")
        return self.first / slope

    def _slope(self, number: int) -> tuple[float, float]:
        """⟨∇f, u⟩ and ‖∇f‖ on one batch of each worker."""
        self.restart()
        _, gradients = self.workers.gradients(_SCALE, number)
        self.spent += 1
        mean = torch.stack(gradients).mean(0)
        # Signs have no size that would be the gradient's.
        message = self.workers.message(gradients, _SCALE, number) if self.workers.signs else mean
        mean = mean.double()
        return float(mean @ self._direction(gradients, message)), float(mean.norm())

    def _direction(self, gradients: list[Tensor], message: Tensor) -> Tensor:
        """u (float64), by a first step whose length neither drowns in the rounding of the point nor overflows."""
        far, times = length(self.start), 1.0
        moved, rate = self._first_move(gradients, message, times)
        for _ in range(ATTEMPTS):
            closer = _closer(length(moved), far)
            if closer == 1 or not 1 / self.most < rate * closer < self.most:
                break
            times *= closer
            moved, rate = self._first_move(gradients, message, times)
        return moved / rate

    def _first_move(self, gradients: list[Tensor], message: Tensor, times: float) -> tuple[Tensor, float]:
        """Where the optimizer's first step from the start goes with `times` its learning rates, and the first of them."""
        optimizer, rule = self._begin()
        rate = float(optimizer.param_groups[0]["lr"])
        self._give(message)
        factor = 1.0 if rule is None else rule.factor(self._seen(gradients, rate))
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * times
        optimizer.step()
        return (self.start - self.landscape.point()).double(), rate * times / factor

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
        made = self.optimizer
        kinds = {_kind(one) for one in (made.optimizers if isinstance(made, ChainedOptimizer) else [made])}
        return "muon" if "muon" in kinds else kinds.pop() if len(kinds) == 1 else "other"

    @property
    def noise(self) -> float:
        """s: ω/N of own masks, ω of a shared one, 0 of biased messages and of those with memory."""
        if not self.workers.unbiased:
            return 0.0
        shared = self.workers.settings.shared
        return self.workers.omega / (1 if shared else self.workers.agents)


def _finite(loss: float, gradients: list[Tensor]) -> bool:
    return math.isfinite(loss) and all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def _closer(length: float, far: float) -> float:
    """What a step of this length from a point so far from 0 is to be multiplied by; 1 if it is long enough, and not too long.

    >>> _closer(0.1, 1.0), _closer(2.0**-20, 1.0), _closer(math.inf, 1.0)
    (1.0, 1048576.0, 9.5367431640625e-07)
    """
    if 0 < length < math.inf and (far == 0 or far / CLEAR <= length <= far * CLEAR):
        return 1.0
    ratio = far / length if far and 0 < length < math.inf else FURTHEST if length == 0 else 1 / FURTHEST
    # By powers of two, so that the same loss in other units gives the same digits.
    return 2.0 ** round(math.log2(min(max(ratio, 1 / FURTHEST), FURTHEST)))


ADAPTIVE = (torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adamax)


def _kind(optimizer: torch.optim.Optimizer) -> str:
    if isinstance(optimizer, torch.optim.SGD):
        return "momentum" if optimizer.param_groups[0]["momentum"] else "sgd"
    if type(optimizer).__name__ == "Muon":  # torch's, or whosever it is
        return "muon"
    return "adam" if isinstance(optimizer, ADAPTIVE) else "other"


def plain(parameters: Any) -> torch.optim.Optimizer:
    """What the advice is for where no optimizer is given."""
    return torch.optim.SGD(parameters, lr=1.0)


def checked_rule(rule: Any) -> Rule | None:
    """Raise unless it is a rule of `stablestep.torch.rule`, or None."""
    if rule is not None and not isinstance(rule, Rule):
        raise InvalidInput(f"rule is {shown(rule)}, but must be a rule such as stablestep.torch.rule.LocalNorms().")
    if isinstance(rule, LocalNorms) and rule.eta0 is not None:
        raise InvalidInput(
            f"rule is LocalNorms(eta0={rule.eta0:g}), whose step is the same at every learning rate, so that there is nothing to look "
            "for; give LocalNorms(): the advice is for its eta0."
        )
    return rule
