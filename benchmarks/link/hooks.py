"""What is compared: how each hook is registered, with the state that counts its bytes (ours) and an optimizer."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.distributed.algorithms.ddp_comm_hooks.debugging_hooks import noop_hook
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.nn.parallel import DistributedDataParallel

import stablestep.torch as sst
from stablestep.compressor import QSGD, Compressor, Identity, RandK, Sign, TopK

Registered = tuple[sst.HookState | None, torch.optim.Optimizer]
_LR = 1e-6  # too small to change anything that could change the time
_BLOCKS = RandK(fraction=0.01, block=1024)


def _sgd(ddp: DistributedDataParallel) -> torch.optim.Optimizer:
    return torch.optim.SGD(ddp.parameters(), lr=_LR)


def _plain(ddp: DistributedDataParallel) -> Registered:
    return None, _sgd(ddp)


def _torch(hook: Any, ddp: DistributedDataParallel) -> Registered:
    ddp.register_comm_hook(None, hook)
    return None, _sgd(ddp)


def _ours(compressor: Compressor, mask: str, ddp: DistributedDataParallel) -> Registered:
    state = sst.register(ddp, sst.HookState(compressor, mask=mask))
    return state, sst.StableStep(_sgd(ddp), state, rule=sst.rule.LocalNorms(eta0=_LR))


HOOKS: dict[str, Callable[[DistributedDataParallel], Registered]] = {
    "noop": partial(_torch, noop_hook),
    "none": _plain,
    "fp16": partial(_torch, fp16_compress_hook),
    "identity": partial(_ours, Identity(), "shared"),
    "randk-shared": partial(_ours, _BLOCKS, "shared"),
    "randk-own": partial(_ours, _BLOCKS, "own"),
    "sign": partial(_ours, Sign(), "own"),
    "qsgd": partial(_ours, QSGD(levels=7), "own"),
    "topk": partial(_ours, TopK(fraction=0.01), "own"),
}
