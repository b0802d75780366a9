"""The papers' figures and claims, one module or folder of sections/ per figure: each returns a `Section` of figures and claims."""

from stablestep.reproduce.context import Context
from stablestep.reproduce.registry import SECTIONS, Entry
from stablestep.reproduce.runner import Interrupted, reproduce

__all__ = ["SECTIONS", "Context", "Entry", "Interrupted", "reproduce"]
