"""Entrants of `stablestep.torch.LocalSteps`: many steps without communication, then compressed differences."""

from collections.abc import Callable
from functools import partial

from torch import nn
from torch.optim import SGD, Optimizer

import stablestep.compressor as C
import stablestep.torch as sst
from benchmarks.frontier import optimizers
from benchmarks.frontier.entrant import Entrant, Run, Trainer


def mean(model: nn.Module) -> Optimizer:
    """The outer optimizer that goes to the workers' mean, without momentum."""
    return SGD(model.parameters(), lr=1.0)


def local(
    model: nn.Module,
    run: Run,
    bits: int = 2,
    every: int | tuple[int, int] = 16,
    exchange: str = "two-shot",
    make: optimizers.Make = optimizers.adamw,
    outer: Callable[[nn.Module], Optimizer] | None = None,
) -> Trainer:
    """Rounds of H steps, or of a number that grows; the outer optimizer is the default one if None."""
    optimizer, compressor = make(model, run.lr), C.ErrorFeedback(C.Blockwise(bits=bits, block=1024))
    total = None if isinstance(every, int) else run.steps
    steps = sst.LocalSteps(
        model,
        optimizer,
        every,
        compressor,
        outer=outer and outer(model),
        exchange=exchange,
        total=total,
        seed=run.seed,
    )
    return Trainer(model, optimizer, steps.step, lambda: steps.meter.since == 0, steps.synchronize)


MUON = partial(local, make=optimizers.muon)

ENTRANTS = (
    Entrant("local-q2", "local AdamW, H 16, 2 bit, two-shot", "ours", local, 0.008, quick=True),
    Entrant("local-q2-ramp", "local AdamW, H 8 to 24, 2 bit, two-shot", "ours", partial(local, every=(8, 24)), 0.008),
    Entrant("local-q4", "local AdamW, H 16, 4 bit, two-shot", "ours", partial(local, bits=4), 0.008),
    Entrant(
        "local-q2-gather", "local AdamW, H 16, 2 bit, all-gather", "ours", partial(local, exchange="all-gather"), 0.008
    ),
    Entrant("local-q2-muon", "local Muon, H 16, 2 bit, two-shot", "ours", MUON, 0.016, quick=True),
    Entrant(
        "local-q2-muon-mean", "local Muon, plain mean, H 16, 2 bit, two-shot", "ours", partial(MUON, outer=mean), 0.016
    ),
)
