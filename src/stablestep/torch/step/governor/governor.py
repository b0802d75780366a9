"""The rule itself."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from stablestep.errors import InvalidInput, flag, positive, require, shown
from stablestep.torch.step.base import Rule, Seen, warn
from stablestep.torch.step.governor.copies import Copies
from stablestep.torch.step.governor.direction import SignTest
from stablestep.torch.step.governor.loss import LossWatch, Verdict
from stablestep.torch.step.governor.norms import NormWatch

_MESSAGE_CAP, _RATE, _TRUSTED = 3.0, 0.1, 3
_DEAF = 10
_HOT = 2.0  # times what the probe says
_NO_ANSWER = -math.inf


@dataclass
class MessageNorm:
    """exp of the running mean of log ‖M‖, of norms that are cut at 3 times it."""

    log: float = 0.0
    steps: int = 0

    def share(self, norm: float) -> float:
        """What a message of this norm is multiplied by."""
        if norm <= 0:
            return 1.0
        if self.steps == 0:
            self.log = math.log(norm)
        share = min(1.0, _MESSAGE_CAP * math.exp(self.log) / norm) if self.steps >= _TRUSTED else 1.0
        self.log += _RATE * (math.log(norm * share) - self.log)
        self.steps += 1
        return share


class Governor(Rule):
    """Insurance for any optimizer: the learning rate as it is while nothing is wrong; else a smaller one, a step left out, or back.

    From what all workers know after the one exchange (their norms, the mean message, their losses, the last update), in this order:

    1. A worker's norm out of all proportion (see `NormWatch`): the step is left out, the optimizer untouched.
    2. The loss, if `HookState.note` was called before backward (see `LossWatch`): an alarm puts the parameters back to the last good
       copy, clears the optimizer's state and multiplies the factor by .35; if the loss is as bad there, the data were at fault, and the
       step is left out.
    3. Pflug's sign test (see `SignTest`) multiplies the factor by .6, from which it does not recover.
    4. A message longer than three times the usual one is cut, and so is an update longer than cap · ‖x‖.

    Without losses 2 is absent, and a warning says so: nothing is put back. There is no further collective, except that a probe's answer is
    broadcast before the first step.

    Args:
        copy: whether a good copy of the parameters is kept, which costs their memory once more (the last update always does, once).
            Without it a run that is much too hot from its first steps can be lost.
        probe: a function without arguments that gives a learning rate, such as `lambda: sst.probe(…).step`; called once, before the first
            step, on the first worker of the group, while the others wait: give it on all of them, and let it end within the group's
            timeout. The answer is held against the first group's rate behind a warm-up (with OneCycleLR its peak) times the factor; where
            that is more than twice as large, the training would be too hot from the start, and the factor becomes what leads to the answer
            and does not grow beyond. A probe that refuses is a warning.
        cap: the longest update, in units of ‖x‖; 0 for none.

    Raises:
        InvalidInput: if an argument is of the wrong kind, or the probe gives no positive number or fails on the first worker.

    >>> Governor(copy=False).factor_now
    1.0
    """

    def __init__(self, copy: bool = True, probe: Callable[[], float] | None = None, cap: float = 0.1):
        require(probe is None or callable(probe), f"probe is {shown(probe)}, but must be a function without arguments.")
        self.cap = cap if cap == 0 else positive("cap", cap)
        self.probe, self.steps, self.asked, self.restored = probe, 0, False, False
        self.copies = Copies(flag("copy", copy))
        self.norms, self.losses, self.signs, self.message = NormWatch(), LossWatch(), SignTest(), MessageNorm()

    @property
    def factor_now(self) -> float:
        """What the learning rates are multiplied by."""
        return self.losses.factor

    def admits(self, seen: Seen) -> bool:
        self._look_at(seen)
        if self.probe is not None and not self.asked and (seen.initial_lr or seen.lr):
            self._ask(seen)
        self.steps += 1
        if self.norms.stands_out(seen.norms):
            return False
        return self._unheard() if math.isnan(seen.loss) else self._heard(seen)

    def spoilt(self, seen: Seen) -> None:
        self._look_at(seen)
        if self.norms.spoils() and self.copies.good:
            self.losses.back()
            self._go_back(seen)

    def _look_at(self, seen: Seen) -> None:
        require(
            not any(isinstance(parameter, DTensor) for parameter in seen.parameters),
            "the governor looks at whole parameters, but this model's are sharded; use another rule, such as Clip.",
        )
        if self.restored:
            self.copies.place(seen.parameters)
            self.restored = False

    def _unheard(self) -> bool:
        if self.steps == _DEAF and math.isnan(self.losses.start):
            warn(
                f"no loss was noted in {_DEAF} steps, so the governor cannot go back: call state.note(loss) before backward."
            )
        return True

    def _heard(self, seen: Seen) -> bool:
        verdict = self.losses.hear(seen.loss)
        if verdict is Verdict.KEEP:
            self.copies.save(seen.parameters)
        if verdict is not Verdict.BACK:
            return verdict is not Verdict.SKIP
        if self.copies.good:
            self._go_back(seen)
            return False
        self.signs.clear()
        self.losses.looking = False
        return True

    def _go_back(self, seen: Seen) -> None:
        self.signs.clear()
        self.copies.restore(seen.parameters)
        seen.forget()

    def _ask(self, seen: Seen) -> None:
        step = _from_first(self._answer, seen)
        require(
            not math.isnan(step),
            "the governor's probe failed on the first worker, so that there is no step to begin with.",
        )
        self.asked = True  # only now: whoever goes on after an exception is asked again
        right = step / (seen.initial_lr or seen.lr) / self.factor_now  # not what a warm-up has made of it
        if step != _NO_ANSWER and right * _HOT < 1:
            self.losses.lower(right)

    def _answer(self) -> float:
        assert self.probe is not None
        try:
            said = self.probe()
        except InvalidInput as refusal:
            warn(f"the governor's probe names no step, so that it goes on without one: {refusal}")
            return _NO_ANSWER
        return positive("the probe's step", said)

    def factor(self, seen: Seen) -> float:
        moved = self.copies.moved
        length, angle = torch.stack(self.copies.begin(seen.parameters)).tolist()  # a GPU is waited for once
        lowered = self.signs.lowers(angle) if moved else 1.0
        if lowered < 1:
            self.losses.lower(lowered)
        share = self.message.share(length)
        if share < 1:
            for message in seen.messages:
                message.mul_(share)
        return self.losses.factor

    def moved(self, seen: Seen) -> None:
        self.copies.end(seen.parameters, self.cap)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, and the tensors of the copies."""
        watches = {name: asdict(getattr(self, name)) for name in _WATCHES}
        return {**watches, "steps": self.steps, "asked": self.asked, "copies": self.copies.state_dict()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        for name, kind in _WATCHES.items():
            setattr(self, name, kind(**saved[name]))
        self.steps, self.asked, self.restored = int(saved["steps"]), bool(saved["asked"]), True
        self.copies.load_state_dict(saved["copies"])


_WATCHES = {"norms": NormWatch, "losses": LossWatch, "signs": SignTest, "message": MessageNorm}


def _from_first(compute: Callable[[], float], seen: Seen) -> float:
    """A number that the first worker computes, on all of them; NaN elsewhere if that fails there."""
    if not dist.is_initialized():
        return compute()
    number = torch.full((1,), math.nan, dtype=torch.float64, device=seen.parameters[0].device)
    try:
        if dist.get_rank(seen.process_group) == 0:
            number.fill_(compute())
    finally:
        dist.broadcast(number, group=seen.process_group, group_src=0)
    return float(number)
