"""Compressed and sign SGD for PyTorch's DistributedDataParallel, with the one scalar that keeps the step safe (the extra `[torch]`)."""

from stablestep.torch.exchange.hook import hook, register, verify
from stablestep.torch.exchange.state import HookState
from stablestep.torch.local.steps import LocalSteps
from stablestep.torch.probe.advice import ProbeAdvice
from stablestep.torch.probe.probe import probe
from stablestep.torch.step import rule
from stablestep.torch.step.optimizer import StableStep
from stablestep.torch.wire.transmit import compress

__all__ = [
    "HookState",
    "LocalSteps",
    "ProbeAdvice",
    "StableStep",
    "compress",
    "hook",
    "probe",
    "register",
    "rule",
    "verify",
]
