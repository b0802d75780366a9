"""StableStep: which step size holds when gradients are noisy and compressed, and what normalization does it need?"""

import stablestep.interrupt  # noqa: F401  before anything that takes long to import
from stablestep import compressor, estimate, message, noise, plot, problem, schedule, sde, server, stability, theorem
from stablestep.compare import compare, quadratic_order, weak_order
from stablestep.errors import InvalidInput
from stablestep.sde import integrate
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from stablestep.sweep import sweep
from stablestep.vary import vary

__all__ = [
    "Agents",
    "InvalidInput",
    "Setup",
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
