"""StableStep: which step size holds when gradients are noisy and compressed, and what normalization does it need?"""

from stablestep import compressor, message, noise, plot, problem, schedule, theorem
from stablestep.errors import InvalidInput
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate

__all__ = ["Agents", "InvalidInput", "Setup", "compressor", "message", "noise", "plot", "problem", "schedule", "simulate", "theorem"]
