"""What takes part: a way to train, with the one rate that is tuned."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from torch.optim import Optimizer


def always() -> bool:
    """Every step ends with the same model on all workers."""
    return True


def nothing() -> None:
    """The last step is the end."""


@dataclass(frozen=True)
class Trainer:
    """What runs on each worker.

    Args:
        model: called with a batch.
        optimizer: whose rates the schedule sets.
        step: after the backward.
        synchronised: whether all workers now have the same model, which is then looked at.
        finish: after the last step, so that they do.
    """

    model: nn.Module
    optimizer: Optimizer
    step: Callable[[], object]
    synchronised: Callable[[], bool] = always
    finish: Callable[[], object] = nothing


@dataclass(frozen=True)
class Run:
    """What a way to train may know of its run."""

    lr: float
    seed: int
    steps: int


@dataclass(frozen=True)
class Entrant:
    """A line of the table.

    Args:
        name: short, without blanks.
        title: as the table says it.
        side: "reference", "theirs" or "ours".
        build: makes the trainer of a model.
        lr: where tuning begins.
        stretch: its schedule spans so many T.
        quick: whether it belongs to the quick variant.
    """

    name: str
    title: str
    side: str
    build: Callable[[nn.Module, Run], Trainer]
    lr: float
    stretch: float = 1.2
    quick: bool = False
