"""What a user is told when an input cannot be right."""

from collections.abc import Iterable
from difflib import get_close_matches


class InvalidInput(ValueError):
    """An input that cannot be right; the message names it, its value, and what to do."""


def require(condition: bool, message: str) -> None:
    """Raise `InvalidInput(message)` unless `condition` holds.

    >>> require(1 + 1 == 2, "never said")
    """
    if not condition:
        raise InvalidInput(message)


def nearest(name: str, options: Iterable[str]) -> str:
    """The hint that ends a message about an unknown name.

    >>> nearest("Gausian", ["Gaussian", "StudentT"])
    'Did you mean "Gaussian"? Known: Gaussian, StudentT.'
    """
    known = sorted(options)
    close = get_close_matches(name, known, n=1)
    return (f'Did you mean "{close[0]}"? ' if close else "") + f"Known: {', '.join(known)}."
