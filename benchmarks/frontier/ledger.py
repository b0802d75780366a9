"""One rule for everybody's bytes: what this worker hands to the collectives, times what an ideal one sends over its link.

With N workers and a tensor of S bytes: an all-reduce sends 2 (N−1)/N · S, a reduce-scatter, an all-to-all or a broadcast (N−1)/N · S, an
all-gather (N−1) · S.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch.distributed as dist
from torch import Tensor

Weight = Callable[[int], float]


def _once(workers: int) -> float:
    return (workers - 1) / workers


def _twice(workers: int) -> float:
    return 2 * _once(workers)


def _to_all(workers: int) -> float:
    return workers - 1


# Methods of ProcessGroup, by the names that torch 2.9 to 2.13 gave them: which argument is sent, and how often.
RULES: dict[str, tuple[int, Weight]] = {
    "allreduce": (0, _twice),
    "allreduce_coalesced": (0, _twice),
    **dict.fromkeys(("allgather", "allgather_coalesced", "_allgather_base", "all_gather_single"), (1, _to_all)),
    **dict.fromkeys(("allgather_into_tensor_coalesced", "all_gather_single_coalesced"), (1, _to_all)),
    **dict.fromkeys(("reduce_scatter", "_reduce_scatter_base", "reduce_scatter_single"), (1, _once)),
    **dict.fromkeys(("reduce_scatter_tensor_coalesced", "reduce_scatter_single_coalesced"), (1, _once)),
    **dict.fromkeys(("alltoall", "alltoall_base", "all_to_all_single"), (1, _once)),
    "broadcast": (0, _once),
}
# Those without a rule must not pass uncounted.
UNKNOWN = ("send", "reduce", "gather", "scatter")


class Ledger:
    """Counts the bytes of the collectives of its `with` blocks, whoever calls them from Python (DDP's own all-reduce is C++: not seen).

    Args:
        sent: bytes so far.
    """

    def __init__(self, sent: float = 0.0):
        self.sent, self._open = sent, False

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Collectives that start inside are counted."""
        self._open = True
        try:
            yield
        finally:
            self._open = False

    def watch(self) -> "Ledger":
        """From now on, in this process: the methods below all functions of torch.distributed, however those were imported."""
        for name in (*RULES, *UNKNOWN):
            if method := getattr(dist.ProcessGroup, name, None):
                setattr(dist.ProcessGroup, name, self._watched(name, method))
        return self

    def _watched(self, name: str, method: Callable) -> Callable:
        @wraps(method)
        def counted(group: dist.ProcessGroup, *arguments: Any, **named: Any) -> Any:
            if self._open:
                self.sent += cost(name, group.size(), arguments)
            return method(group, *arguments, **named)

        return counted


def cost(name: str, workers: int, arguments: tuple) -> float:
    """Bytes that each of the workers sends.

    >>> import torch
    >>> cost("allreduce", 4, ([torch.zeros(10)],)), cost("allgather", 4, ([[]], [torch.zeros(10)]))
    (60.0, 120)
    """
    if name in UNKNOWN:
        raise NotImplementedError(f"no rule says how many bytes ProcessGroup.{name} sends; add it to RULES.")
    place, weight = RULES[name]
    return weight(workers) * _bytes(arguments[place])


def _bytes(sent: Any) -> int:
    return sent.numel() * sent.element_size() if isinstance(sent, Tensor) else sum(map(_bytes, sent))
