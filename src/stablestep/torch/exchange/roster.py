"""Numbers for parameters, which are the same on all workers and after a restart, however DDP fills its buckets."""

from collections import Counter
from collections.abc import Iterable, Sequence

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

    def enrol(self, buckets: Sequence[Sequence[torch.Tensor]]) -> None:
        """Number the parameters of DDP's first buckets, in the order of their indices: by type and device, then as the model defines them.

        DDP fills a bucket with parameters of one type in the model's order, up to `bucket_cap_mb`, and numbers the last ones 0: backwards,
        the buckets of one type are the model's order for every size of bucket.
        """
        parameters = [parameter for bucket in reversed(buckets) for parameter in bucket]
        for parameter in sorted(parameters, key=lambda one: (str(one.dtype), str(one.device))):
            self.number(parameter)
        self.complete()

    def knows(self, parameters: Iterable[torch.Tensor]) -> bool:
        """Whether all of them have numbers."""
        return all(parameter in self._numbers for parameter in parameters)

    def expect(self, sizes: Sequence[int]) -> None:
        """From now on the parameters must have these sizes."""
        if self._numbers:
            _agree(self.sizes, list(sizes))
        self._expected = list(sizes) or None

    def check(self, trained: Sequence[torch.Tensor], all_of_them: Sequence[torch.Tensor]) -> None:
        """A model's parameters, before the first backward: all that are trained are expected, and none that the model lacks.

        A parameter that is frozen now may have been trained when DDP wrapped the model, and is then exchanged still.
        """
        if self._expected is not None:
            expected = Counter(self._expected)
            if not _sizes(trained) <= expected <= _sizes(all_of_them):
                _refuse([parameter.numel() for parameter in trained], self._expected)

    def complete(self) -> None:
        """After a whole backward: no parameter that was expected is missing."""
        if self._expected is not None and len(self._expected) != len(self._numbers):
            _agree(self.sizes, self._expected)


def _agree(found: list[int], expected: list[int]) -> None:
    if found != expected:
        _refuse(found, expected)


def _refuse(found: list[int], expected: list[int]) -> None:
    raise InvalidInput(
        f"the resumed state belongs to other parameters: it has {len(expected)} of {_shown(expected)} entries, "
        f"but the model has {len(found)} of {_shown(found)}; resume with the model that was saved."
    )


def _sizes(parameters: Iterable[torch.Tensor]) -> Counter[int]:
    return Counter(parameter.numel() for parameter in parameters)


def _shown(sizes: list[int]) -> str:
    return ", ".join(map(str, sizes[:8])) + (", …" if len(sizes) > 8 else "")
