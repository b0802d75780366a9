"""What is compared: how each way to train exchanges, and what counts its bytes (ours)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.debugging_hooks import noop_hook
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.nn.parallel import DistributedDataParallel

import stablestep.torch as sst
from stablestep.compressor import QSGD, Compressor, ErrorFeedback, Identity, LowRank, RandK, Sign, TopK

_LR = 1e-6  # too small to change anything that could change the time
_BLOCKS = RandK(fraction=0.01, block=1024)
ROUND = 16


@dataclass(frozen=True)
class Way:
    """A way to train a model.

    Args:
        model: called with a batch.
        step: after a backward.
        telemetry: None for what is not ours.
        steps: timed together, of which each gets its share.
    """

    model: nn.Module
    step: Callable[[], Any]
    telemetry: Callable[[], dict[str, float]] | None = None
    steps: int = 1


def _sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=_LR)


def _wrapped(model: nn.Module) -> DistributedDataParallel:
    return DistributedDataParallel(model, gradient_as_bucket_view=True)


def _plain(model: nn.Module) -> Way:
    return Way(_wrapped(model), _sgd(model).step)


def _torch(hook: Any, model: nn.Module) -> Way:
    ddp = _wrapped(model)
    ddp.register_comm_hook(None, hook)
    return Way(ddp, _sgd(model).step)


def _ours(compressor: Compressor, mask: str, model: nn.Module) -> Way:
    ddp = _wrapped(model)
    state = sst.register(ddp, sst.HookState(compressor, mask=mask))
    return Way(ddp, sst.StableStep(_sgd(model), state, rule=sst.rule.LocalNorms(eta0=_LR)).step, state.telemetry)


def _local(model: nn.Module) -> Way:
    local = sst.LocalSteps(model, _sgd(model), every=ROUND)
    return Way(model, local.step, local.telemetry, ROUND)


HOOKS: dict[str, Callable[[nn.Module], Way]] = {
    "noop": partial(_torch, noop_hook),
    "none": _plain,
    "fp16": partial(_torch, fp16_compress_hook),
    "identity": partial(_ours, Identity(), "shared"),
    "randk-shared": partial(_ours, _BLOCKS, "shared"),
    "randk-own": partial(_ours, _BLOCKS, "own"),
    "sign": partial(_ours, Sign(), "own"),
    "qsgd": partial(_ours, QSGD(levels=7), "own"),
    "topk": partial(_ours, TopK(fraction=0.01), "own"),
    "ef-topk": partial(_ours, ErrorFeedback(TopK(fraction=0.01)), "own"),
    "low-rank": partial(_ours, LowRank(rank=2), "own"),
    "local": _local,
}
