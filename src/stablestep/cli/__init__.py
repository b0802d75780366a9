"""The command `stablestep`: every module here may hold a command. Heavy imports wait until one needs them, so that help is quick."""

import gc
from importlib import import_module
from pkgutil import iter_modules

from stablestep import interrupt
from stablestep.cli.app import app

__all__ = ["app", "main"]

for _found in iter_modules(__path__):
    if not _found.name.startswith("_"):
        import_module(f"{__name__}.{_found.name}")


def main() -> None:
    """Run the command line; what is wrong with the input is said in one sentence, with exit status 2."""
    # What is loaded stays: the collector need not go through it again and again, while JAX traces and more is loaded.
    gc.freeze()
    gc.set_threshold(20_000)
    interrupt.run(app)
