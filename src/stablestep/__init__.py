"""StableStep: which step size holds when gradients are noisy and compressed, and what normalization does it need?"""

import stablestep.interrupt  # noqa: F401  before anything that takes long to import

# isort: split
from importlib import import_module
from typing import TYPE_CHECKING, Any

from stablestep import compressor, estimate, message, noise, problem, schedule, sde, server, stability, theorem
from stablestep.cache import cache
from stablestep.compare import compare, quadratic_order, weak_order
from stablestep.errors import InvalidInput
from stablestep.sde import integrate
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from stablestep.sweep import sweep
from stablestep.vary import vary

if TYPE_CHECKING:
    from stablestep import plot

__all__ = [
    "Agents",
    "InvalidInput",
    "Setup",
    "cache",
    "compare",
    "compressor",
    "estimate",
    "integrate",
    "message",
    "noise",
    "plot",
    "problem",
    "quadratic_order",
    "schedule",
    "sde",
    "server",
    "simulate",
    "stability",
    "sweep",
    "theorem",
    "vary",
    "weak_order",
]


def __getattr__(name: str) -> Any:
    """Pictures are loaded when they are first asked for: what draws them takes as long to load as all the rest."""
    if name == "plot":
        return import_module("stablestep.plot")
    raise AttributeError(f"module 'stablestep' has no attribute '{name}'")
