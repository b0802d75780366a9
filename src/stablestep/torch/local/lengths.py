"""How many steps a round has."""

from typing import Any

from stablestep.errors import InvalidInput, require, shown, whole


class Lengths:
    """Rounds of `every` steps, or of a number that goes from every[0] to every[1] in proportion to the steps of a run of `total` steps.

    Raises:
        InvalidInput: if a length is no whole number of at least 1, or a length that changes has no `total` (or one that does not has).

    >>> growing = Lengths((8, 24), total=320)
    >>> growing.at(0), growing.at(160), growing.at(1000)
    (8, 16, 24)
    """

    def __init__(self, every: Any, total: int | None = None):
        self.first, self.last = _ends(every)
        changing = isinstance(every, (tuple, list))
        require(
            changing == (total is not None),
            f"every is {shown(every)} and total {total}, but rounds that change need the number of steps of the whole run, and others "
            "none; use every=16, or every=(8, 24) with total=….",
        )
        self.total = whole("total", total) if total is not None else None

    @property
    def described(self) -> int | list[int]:
        """As plain numbers."""
        return self.first if self.total is None else [self.first, self.last]

    def at(self, steps: int) -> int:
        """The length of a round that begins after so many steps."""
        if self.total is None:
            return self.first
        return round(self.first + (self.last - self.first) * min(1.0, steps / self.total))


def _ends(every: Any) -> tuple[int, int]:
    if not isinstance(every, (tuple, list)):
        length = whole("every", every)
        return length, length
    if len(every) != 2:
        raise InvalidInput(
            f"every is {shown(every)}, but must be a number of steps, such as 16, or two, such as (8, 24)."
        )
    return whole("every[0]", every[0]), whole("every[1]", every[1])
