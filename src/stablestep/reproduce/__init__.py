"""The papers' figures and claims, one module per figure: each returns a `Section` of figures and claims."""

from stablestep.reproduce.context import Context
from stablestep.reproduce.runner import SECTIONS, Entry, Interrupted, reproduce

__all__ = ["SECTIONS", "Context", "Entry", "Interrupted", "reproduce"]
