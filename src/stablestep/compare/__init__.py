"""The optimizer and its continuous models on one time axis, and the order in which they agree."""

from stablestep.compare.gap import compare
from stablestep.compare.moments import quadratic_order
from stablestep.compare.order import weak_order

__all__ = ["compare", "quadratic_order", "weak_order"]
