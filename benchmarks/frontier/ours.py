"""Entrants that exchange by `stablestep.torch`."""

from collections.abc import Callable
from functools import partial

from torch import nn
from torch.nn.parallel import DistributedDataParallel

import stablestep.compressor as C
import stablestep.torch as sst
from benchmarks.frontier import optimizers
from benchmarks.frontier.entrant import Entrant, Run, Trainer

Build = Callable[[nn.Module, Run], Trainer]


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


def feedback(compressor: C.Compressor, make: optimizers.Make) -> Build:
    """Error memory around a compressor."""
    return partial(hooked, compressor=C.ErrorFeedback(compressor), make=make)


def ef21_muon(model: nn.Module, run: Run, fraction: float) -> Trainer:
    """EF21-Muon (Gruntkowska et al. 2025): the workers' momenta go through EF21, and Muon makes the step of their mean."""
    compressor = C.Momentum(C.EF21(C.TopK(fraction=fraction)), beta=0.9)
    return hooked(model, run, compressor, partial(optimizers.muon, momentum=0.0))


_ADAMW, _MOMENTUM = optimizers.adamw, optimizers.momentum
TOP1, TOP01, SIGN, SPARSE = C.TopK(fraction=0.01), C.TopK(fraction=0.001), C.ScaledSign(), C.RandK(fraction=0.05)
LOW_RANK = partial(hooked, compressor=C.LowRank(rank=2), make=_ADAMW)
MAJORITY = partial(hooked, compressor=C.Sign(), make=optimizers.plain, vote="majority")

ENTRANTS = (
    Entrant("low-rank-2", "LowRank r2, AdamW", "ours", LOW_RANK, 0.004, quick=True),
    Entrant("ef-topk-1-adamw", "EF-TopK 1 %, AdamW", "ours", feedback(TOP1, _ADAMW), 0.004),
    Entrant("ef-topk-1-m", "EF-TopK 1 %, momentum SGD", "ours", feedback(TOP1, _MOMENTUM), 0.1),
    Entrant("ef-topk-01-adamw", "EF-TopK 0.1 %, AdamW", "ours", feedback(TOP01, _ADAMW), 0.004),
    Entrant("ef-topk-01-m", "EF-TopK 0.1 %, momentum SGD", "ours", feedback(TOP01, _MOMENTUM), 0.1),
    Entrant("ef-sign-adamw", "EF-ScaledSign, AdamW", "ours", feedback(SIGN, _ADAMW), 0.002),
    Entrant("ef21-muon", "EF21-TopK 5 %, Muon", "ours", partial(ef21_muon, fraction=0.05), 0.008),
    Entrant("randk-norms", "RandK 5 % shared, LocalNorms", "ours", partial(local_norms, compressor=SPARSE), 0.4),
    Entrant("sign-majority", "sign, majority vote, SGD", "ours", MAJORITY, 0.002),
)
