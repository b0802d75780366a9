"""StableStep: which step size holds when gradients are noisy and compressed, and what normalization does it need?"""

import stablestep.interrupt  # noqa: F401  before anything that takes long to import

# isort: split
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stablestep import (
        compressor,
        estimate,
        message,
        noise,
        plot,
        problem,
        schedule,
        sde,
        server,
        stability,
        theorem,
    )
    from stablestep.cache import cache
    from stablestep.compare import compare, quadratic_order, weak_order
    from stablestep.errors import InvalidInput
    from stablestep.sde import integrate
    from stablestep.setup import Agents, Setup
    from stablestep.simulate import simulate
    from stablestep.sweep import sweep
    from stablestep.vary import vary

    __version__: str

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
# Where what is no module comes from; everything is loaded when it is first asked for, so that the command line's help need not wait.
_HOMES = {
    "Agents": "setup",
    "InvalidInput": "errors",
    "Setup": "setup",
    "cache": "cache",
    "compare": "compare",
    "integrate": "sde",
    "quadratic_order": "compare",
    "simulate": "simulate",
    "sweep": "sweep",
    "vary": "vary",
    "weak_order": "compare",
}


class _Package(ModuleType):
    """Here `simulate` is the function, not the module of that name, whoever imports what first."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("stablestep")
    if name not in __all__:
        raise AttributeError(f"module 'stablestep' has no attribute '{name}'")
    home = import_module(f"stablestep.{_HOMES.get(name, name)}")
    value = getattr(home, name) if name in _HOMES else home
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
