"""Compressed and sign SGD for PyTorch's DistributedDataParallel, with the one scalar that keeps the step safe (the extra `[torch]`)."""

from stablestep.torch import rule
from stablestep.torch.advice import Advice
from stablestep.torch.compress import compress
from stablestep.torch.hook import hook, register, verify
from stablestep.torch.optimizer import StableStep
from stablestep.torch.probe import probe
from stablestep.torch.state import HookState

__all__ = ["Advice", "HookState", "StableStep", "compress", "hook", "probe", "register", "rule", "verify"]
