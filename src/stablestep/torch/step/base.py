"""What a step rule is, and what it may look at."""

import abc
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

Tensor = torch.Tensor


@dataclass(frozen=True)
class Seen:
    """What a rule may depend on, the same on all workers.

    Attributes:
        mean_norm: of the workers' gradients.
        lr: the learning rate now, the largest of all groups.
        initial_lr: that of the first group that is not 0, before any scheduler; with OneCycleLR its peak.
        parameters: with the mean message as their gradient.
        process_group: of the workers.
        first_lr: that group's learning rate now, if it differs from `lr`.
        norms: of all workers' gradients.
        loss: the mean of the losses that were noted; NaN without.
        forget: clears the optimizer's state.
    """

    mean_norm: float
    lr: float
    initial_lr: float
    parameters: Sequence[Tensor]
    process_group: dist.ProcessGroup | None = None
    first_lr: float | None = None
    norms: Sequence[float] = ()
    loss: float = math.nan
    forget: Callable[[], None] = lambda: None

    @property
    def proportion(self) -> float:
        """What a scheduler has made of the first group's learning rate, as a multiple of it."""
        return (self.lr if self.first_lr is None else self.first_lr) / self.initial_lr

    @property
    def messages(self) -> list[Tensor]:
        """The mean message."""
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]


class Rule(abc.ABC):
    """A step rule."""

    def admits(self, seen: Seen) -> bool:
        """Whether the step is made at all; asked first."""
        del seen
        return True

    def spoilt(self, seen: Seen) -> None:
        """The step is left out, since a gradient or message is not finite."""
        del seen

    @abc.abstractmethod
    def factor(self, seen: Seen) -> float:
        """What every learning rate is multiplied by in this step."""

    def moved(self, seen: Seen) -> None:
        """The step was made."""
        del seen

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """The opposite of `state_dict`."""
        del saved


def warn(message: str) -> None:
    """A warning of the first worker, for all."""
    if not dist.is_initialized() or dist.get_rank() == 0:
        warnings.warn(message, stacklevel=3)
