"""What a section of the reproduction is told."""

from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[float | str], None]


def silent(_: float | str) -> None:
    """A progress that nobody watches."""


@dataclass(frozen=True)
class Context:
    """How a section is to run: `quick` for small samples, `seed` for every random number.

    `progress` takes a fraction of the section's work in [0, 1], or a few words on what it does now.

    >>> Context(quick=True).progress(0.5)
    """

    quick: bool = False
    seed: int = 0
    progress: Progress = silent
