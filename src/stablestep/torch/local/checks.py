"""What a model, an optimizer and a compressor must be for local steps."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import LBFGS, Optimizer

from stablestep.compressor import Compressor, ErrorFeedback
from stablestep.compressor.feedback import Wrapper
from stablestep.errors import InvalidInput, instance, require, shown
from stablestep.torch.exchange.hook import is_sharded, require_real
from stablestep.torch.step.optimizer import StableStep
from stablestep.torch.wire.registry import codec

Tensor = torch.Tensor


def bare(model: Any) -> nn.Module:
    """`model`, which must be a module whose whole gradient is each worker's own.

    >>> type(bare(nn.Linear(1, 1))).__name__
    'Linear'
    """
    name = type(model).__name__
    require(isinstance(model, nn.Module), f"model is a {name}, but must be a torch.nn.Module.")
    require(
        not isinstance(model, DistributedDataParallel),
        f"model is a {name}, which exchanges gradients in every step; give LocalSteps the model inside: ddp.module.",
    )
    sharded = is_sharded(model) or any(type(parameter.data).__name__ == "DTensor" for parameter in model.parameters())
    require(
        not sharded,
        f"model is a {name} whose parameters are sharded, but local steps need a whole model on each worker.",
    )
    lazy = [name for name, value in model.named_parameters() if isinstance(value, nn.UninitializedParameter)]
    require(not lazy, f"the parameter {', '.join(lazy[:1])} has no shape yet; run the model once before LocalSteps.")
    return model


def inner(optimizer: Any) -> Optimizer:
    """`optimizer`, which must make a step from a worker's own gradient alone."""
    name = type(optimizer).__name__
    require(isinstance(optimizer, Optimizer), f"optimizer is a {name}, but must be a torch optimizer.")
    require(not isinstance(optimizer, LBFGS), "LBFGS chooses its own steps; use an optimizer without a closure.")
    require(
        not isinstance(optimizer, StableStep),
        "optimizer is a StableStep, which steps by gradients that were exchanged; give LocalSteps the optimizer inside.",
    )
    require(
        name != "ZeroRedundancyOptimizer",
        "optimizer is a ZeroRedundancyOptimizer, which exchanges parameters in every step; give LocalSteps a plain one.",
    )
    return optimizer


def exchanged(model: nn.Module, optimizer: Optimizer) -> Sequence[Tensor]:
    """The parameters that local steps change: those of the model that the optimizer holds and that need gradients, in the model's order."""
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    own = list(model.parameters())
    foreign = held - {id(parameter) for parameter in own}
    require(
        not foreign,
        f"{len(foreign)} of the optimizer's parameters are not the model's, so no exchange would reach them; "
        "make the optimizer from model.parameters().",
    )
    found = [parameter for parameter in own if id(parameter) in held and parameter.requires_grad and parameter.numel()]
    require(found, "the optimizer holds no parameter that needs gradients; make it from model.parameters().")
    require_real(found)
    devices = sorted({str(parameter.device) for parameter in found})
    require(
        len(devices) == 1, f"the parameters are on {', '.join(devices)}, but must be on one device for each worker."
    )
    return found


def coded(compressor: Any, sizes: Sequence[int]) -> tuple[Compressor, bool]:
    """What makes the messages of parts of these sizes, and whether what they lose is remembered.

    Raises:
        InvalidInput: if it has no torch version, sends no displacement, or cannot act on a part.
    """
    instance("compressor", compressor, Compressor, "ErrorFeedback(Blockwise(bits=2))")
    inside = compressor.inner if isinstance(compressor, ErrorFeedback) else compressor
    require(
        not isinstance(inside, Wrapper) and not inside.remembers,
        f"compressor is {shown(compressor)}, but local steps remember by ErrorFeedback around a compressor without memory, or not at all.",
    )
    require(
        not codec(inside).scale_free,
        f"{inside.name} sends no lengths, but local steps need a displacement; use Blockwise(bits=1) or ScaledSign().",
    )
    for size in filter(None, sizes):
        try:
            inside.check(size)
        except InvalidInput as error:
            raise InvalidInput(f"A worker's part of {size} parameters: {error}") from error
    return inside, inside is not compressor


def scales(scaler: Any) -> Any:
    """`scaler`, which must be None or a GradScaler."""
    fits = scaler is None or (callable(getattr(scaler, "step", None)) and callable(getattr(scaler, "get_scale", None)))
    require(fits, f"scaler is {shown(scaler)}, but must be a torch.amp.GradScaler.")
    return scaler
