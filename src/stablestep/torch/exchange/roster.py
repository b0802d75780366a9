"""Numbers for parameters in the order in which the hook first sees them, which is the same on all workers and after a restart."""

from collections.abc import Sequence

import torch

from stablestep.errors import InvalidInput


class Roster:
    """DDP regroups its buckets after the first steps, so nothing may be remembered by bucket."""

    def __init__(self):
        self._numbers: dict[torch.Tensor, int] = {}
        self._expected: list[int] | None = None

    @property
    def parameters(self) -> list[torch.Tensor]:
        """In the order of their numbers."""
        return list(self._numbers)

    @property
    def sizes(self) -> list[int]:
        """The number of entries of each parameter."""
        return [parameter.numel() for parameter in self._numbers]

    @property
    def expected(self) -> list[int]:
        """The sizes, those of a resumed state until the first parameter has come."""
        return self.sizes or self._expected or []

    def number(self, parameter: torch.Tensor) -> int:
        """The parameter's number; a new one must be what a resumed state expects."""
        if parameter not in self._numbers:
            self._numbers[parameter] = len(self._numbers)
            if self._expected is not None:
                _agree(self.sizes, self._expected[: len(self._numbers)])
        return self._numbers[parameter]

    def expect(self, sizes: Sequence[int]) -> None:
        """From now on the parameters must have these sizes."""
        if self._numbers:
            _agree(self.sizes, list(sizes))
        self._expected = list(sizes) or None

    def check(self, parameters: Sequence[torch.Tensor]) -> None:
        """All parameters of a model at once, before the first backward, in any order."""
        sizes = sorted(parameter.numel() for parameter in parameters)
        if self._expected is not None:
            _agree(sizes, sorted(self._expected))

    def complete(self) -> None:
        """After a whole backward: no parameter that was expected is missing."""
        if self._expected is not None and len(self._expected) != len(self._numbers):
            _agree(self.sizes, self._expected)


def _agree(found: list[int], expected: list[int]) -> None:
    if found != expected:
        raise InvalidInput(
            f"the resumed state belongs to other parameters: it has {len(expected)} of {_shown(expected)} entries, "
            f"but the model has {len(found)} of {_shown(found)}; resume with the model that was saved."
        )


def _shown(sizes: list[int]) -> str:
    return ", ".join(map(str, sizes[:8])) + (", …" if len(sizes) > 8 else "")
