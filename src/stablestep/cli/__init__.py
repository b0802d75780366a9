"""The command `stablestep`: every module here may hold a command. Heavy imports wait until one needs them, so that help is quick."""

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
    interrupt.run(app)
