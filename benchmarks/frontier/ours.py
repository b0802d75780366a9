"""Entrants that exchange by `stablestep.torch`."""

from functools import partial

from torch import nn
from torch.nn.parallel import DistributedDataParallel

import stablestep.compressor as C
import stablestep.torch as sst
from benchmarks.frontier import optimizers
from benchmarks.frontier.entrant import Entrant, Run, Trainer


def hooked(model: nn.Module, run: Run, compressor: C.Compressor, make: optimizers.Make, **settings) -> Trainer:
    """DDP with our hook."""
    ddp = DistributedDataParallel(model)
    sst.register(ddp, sst.HookState(compressor, seed=run.seed, **settings))
    optimizer = make(model, run.lr)
    return Trainer(ddp, optimizer, optimizer.step)


def local_norms(model: nn.Module, run: Run, compressor: C.Compressor) -> Trainer:
    """The rule of the theorems: a step of at most η0/(1 + the mean norm)."""
    ddp = DistributedDataParallel(model)
    state = sst.register(ddp, sst.HookState(compressor, seed=run.seed))
    optimizer = sst.StableStep(optimizers.plain(model, run.lr), state, sst.rule.LocalNorms())
    return Trainer(ddp, optimizer, optimizer.step)


ENTRANTS = (
    Entrant(
        "randk-norms",
        "RandK 5 % shared, LocalNorms",
        "ours",
        partial(local_norms, compressor=C.RandK(fraction=0.05)),
        0.4,
    ),
    Entrant(
        "sign-majority",
        "sign, majority vote, SGD",
        "ours",
        partial(hooked, compressor=C.Sign(), make=optimizers.plain, vote="majority"),
        0.002,
    ),
)
