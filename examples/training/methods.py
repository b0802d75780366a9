"""How the examples train: what the workers send, the optimizer and its rate."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, AdamW, Optimizer

import stablestep.torch as sst
from stablestep.compressor import Compressor

Make = Callable[[nn.Module, float], Optimizer]


@dataclass(frozen=True)
class Trainer:
    """What runs on each worker: the model that is called, the optimizer whose rate a schedule sets, and what follows a backward."""

    model: nn.Module
    optimizer: Optimizer
    step: Callable[[], object]
    telemetry: Callable[[], dict[str, float]]
    finish: Callable[[], object] = bool


@dataclass(frozen=True)
class Method:
    """A line of the table.

    Args:
        lr: the largest rate of the schedule; `--tune` says what others give.
        build: the trainer of a model, from the rate and a seed.
    """

    name: str
    lr: float
    build: Callable[[nn.Module, float, int], Trainer]


def adamw(model: nn.Module, lr: float) -> Optimizer:
    return AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.01)


def sgd(model: nn.Module, lr: float) -> Optimizer:
    return SGD(model.parameters(), lr=lr)


def muon(model: nn.Module, lr: float) -> Optimizer:
    """Muon for the matrices between embeddings and head, AdamW for the rest."""
    matrices = [module.weight for module in model.modules() if isinstance(module, nn.Linear)][:-1]
    chosen = set(map(id, matrices))
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    return sst.ChainedOptimizer(
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        AdamW(rest, lr=lr, betas=(0.9, 0.99), weight_decay=0.01),
    )


def hooked(
    compressor: Compressor, make: Make = adamw, rule: Callable[[], sst.rule.Rule] = sst.rule.Constant
) -> Callable[..., Trainer]:
    """DDP with a hook: messages in every step."""
    return partial(_hooked, compressor, make, rule)


def _hooked(compressor: Compressor, make: Make, rule: Callable, model: nn.Module, lr: float, seed: int) -> Trainer:
    ddp = DistributedDataParallel(model)
    state = sst.register(ddp, sst.HookState(compressor, seed=seed))
    optimizer = sst.StableStep(make(model, lr), state, rule())
    return Trainer(ddp, optimizer, lambda: optimizer.step(), state.telemetry)  # which a scheduler replaces


def local(make: Make = adamw) -> Callable[..., Trainer]:
    """Sixteen steps alone, then two bits for each parameter."""
    return partial(_local, make)


def _local(make: Make, model: nn.Module, lr: float, seed: int) -> Trainer:
    steps = sst.LocalSteps(model, make(model, lr), every=16, seed=seed)
    return Trainer(model, steps.optimizer, steps.step, steps.telemetry, steps.synchronize)
