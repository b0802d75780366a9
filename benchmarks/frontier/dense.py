"""Entrants that exchange by DDP: dense, and torch's own hooks."""

from functools import partial

from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

from benchmarks.frontier import optimizers
from benchmarks.frontier.entrant import Entrant, Run, Trainer

REFERENCE = "adamw"


def hooked(model: nn.Module, run: Run, make: optimizers.Make, hook=default_hooks.allreduce_hook) -> Trainer:
    """DDP with one of torch's hooks; the first is what DDP does by itself, where the ledger sees it."""
    ddp = DistributedDataParallel(model)
    ddp.register_comm_hook(None, hook)
    optimizer = make(model, run.lr)
    return Trainer(ddp, optimizer, optimizer.step)


def power_sgd(model: nn.Module, run: Run, make: optimizers.Make, rank: int) -> Trainer:
    """torch's PowerSGD, compressing from the first step that it allows."""
    ddp = DistributedDataParallel(model)
    state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=rank, start_powerSGD_iter=2)
    ddp.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    optimizer = make(model, run.lr)
    return Trainer(ddp, optimizer, optimizer.step)


_ADAMW, _MOMENTUM, _MUON = (
    partial(hooked, make=make) for make in (optimizers.adamw, optimizers.momentum, optimizers.muon)
)
_FP16 = partial(_ADAMW, hook=default_hooks.fp16_compress_hook)
_RANK1, _RANK2 = (partial(power_sgd, make=optimizers.adamw, rank=rank) for rank in (1, 2))

ENTRANTS = (
    Entrant(REFERENCE, "fp32, AdamW, schedule of T", "reference", _ADAMW, 0.008, stretch=1.0, quick=True),
    Entrant("adamw-longer", "fp32, AdamW", "theirs", _ADAMW, 0.008),
    Entrant("momentum", "fp32, momentum SGD", "theirs", _MOMENTUM, 0.1),
    Entrant("muon", "fp32, Muon", "theirs", _MUON, 0.008),
    Entrant("fp16", "torch's fp16 hook, AdamW", "theirs", _FP16, 0.008),
    Entrant("powersgd-1", "torch's PowerSGD r1, AdamW", "theirs", _RANK1, 0.004),
    Entrant("powersgd-2", "torch's PowerSGD r2, AdamW", "theirs", _RANK2, 0.004, quick=True),
)
