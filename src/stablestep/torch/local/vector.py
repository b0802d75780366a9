"""The parameters as one flat vector, and its division among the workers."""

from collections.abc import Sequence

import torch

Tensor = torch.Tensor


class Vector:
    """Parameters in a fixed order as one vector [P], in single precision unless one of them is in double.

    >>> vector = Vector([torch.ones(2, 2), torch.zeros(1)])
    >>> vector.read().tolist(), [tuple(view.shape) for view in vector.views(vector.read())]
    ([1.0, 1.0, 1.0, 1.0, 0.0], [(2, 2), (1,)])
    """

    def __init__(self, parameters: Sequence[Tensor]):
        self.parameters = list(parameters)
        self.sizes = [parameter.numel() for parameter in parameters]
        double = any(parameter.dtype == torch.float64 for parameter in parameters)
        self.dtype = torch.float64 if double else torch.float32

    def read(self) -> Tensor:
        """What the parameters are now, copied."""
        return torch.cat([parameter.detach().reshape(-1).to(self.dtype) for parameter in self.parameters])

    def views(self, flat: Tensor) -> list[Tensor]:
        """The parts of a flat vector in the parameters' shapes."""
        parts = zip(flat.split(self.sizes), self.parameters)
        return [part.view(parameter.shape) for part, parameter in parts]

    def write(self, flat: Tensor) -> None:
        """Set the parameters."""
        with torch.no_grad():
            for parameter, view in zip(self.parameters, self.views(flat)):
                parameter.copy_(view)

    def rounded(self, flat: Tensor) -> Tensor:
        """What `read` gives after `write`: in half precision not quite the same."""
        parts = zip(flat.split(self.sizes), self.parameters)
        return torch.cat([part.to(parameter.dtype).to(self.dtype) for part, parameter in parts])


def shards(dim: int, workers: int, block: int) -> list[int]:
    """The lengths of the parts of a vector that the workers look after: whole blocks, as equal as can be; the last block may be shorter.

    >>> shards(10, 3, 2), shards(9, 3, 4), shards(3, 3, 4)
    ([4, 4, 2], [4, 4, 1], [3, 0, 0])
    """
    blocks = -(-dim // block)
    ends = [min(dim, block * sum(_count(blocks, workers, each) for each in range(k + 1))) for k in range(workers)]
    return [end - start for start, end in zip([0, *ends], ends)]


def _count(blocks: int, workers: int, worker: int) -> int:
    return blocks // workers + (worker < blocks % workers)
