"""Compressed and sign SGD for PyTorch's DistributedDataParallel, with the one scalar that keeps the step safe (the extra `[torch]`)."""

from stablestep.torch.exchange.hook import hook, register, verify
from stablestep.torch.exchange.state import HookState
from stablestep.torch.local.steps import LocalSteps
from stablestep.torch.probe.advice import Interrupted, ProbeAdvice
from stablestep.torch.probe.probe import probe
from stablestep.torch.probe.transfer import Plan, transfer
from stablestep.torch.step import rule
from stablestep.torch.step.chained import ChainedOptimizer
from stablestep.torch.step.optimizer import StableStep
from stablestep.torch.survey.found import SurveyReport
from stablestep.torch.survey.report import survey
from stablestep.torch.wire.transmit import compress

__all__ = [
    "ChainedOptimizer",
    "HookState",
    "Interrupted",
    "LocalSteps",
    "Plan",
    "ProbeAdvice",
    "StableStep",
    "SurveyReport",
    "compress",
    "hook",
    "probe",
    "register",
    "rule",
    "survey",
    "transfer",
    "verify",
]
