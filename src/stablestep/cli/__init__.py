"""The command `stablestep`. Heavy imports wait until a command needs them, so that help is quick."""

from stablestep.cli import critical, limits, reproduce, simulate
from stablestep.cli.app import MOST_DEVICES, app, use_all_cores

__all__ = ["MOST_DEVICES", "app", "critical", "limits", "main", "reproduce", "simulate", "use_all_cores"]


def main() -> None:
    """Run the command line; what is wrong with the input is said in one sentence, with exit status 2."""
    app()
