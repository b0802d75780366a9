"""One group of parameters on its way: messages in one payload, one asynchronous collective, mean messages written back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from stablestep.torch import norm
from stablestep.torch.bits import as_bytes
from stablestep.torch.part import Part
from stablestep.torch.state import HookState

Tensor = torch.Tensor
Future = torch.futures.Future
# The newer name is absent from torch 2.9, the older one deprecated since 2.13.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


def send(state: HookState, parts: list[Part], local_norm: Tensor | None) -> Future:
    """Start the group's collective; when it ends, the mean messages are in the parts and, with a norm, all norms in the meter.

    Results are read from tensors of our own; nothing waits here.
    """
    summed = all(part.summed for part in parts)
    with network():
        work, received = (_send_sum if summed else _send_rows)(state, parts, local_norm)

    def finish(done: Future) -> Tensor:
        with network():
            done.value()
        (_read_sum if summed else _read_rows)(parts, received)
        if local_norm is not None:
            state.meter.end(
                norm.from_slots(received[-norm.SIZE * state.workers :]) if summed else norm.from_rows(received)
            )
        return received  # a tensor, so that a GPU's future knows when the kernels above are done

    return work.get_future().then(finish)


@contextmanager
def network() -> Iterator[None]:
    """Errors of the collectives in words."""
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(
            f"The exchange of gradients failed because a worker is gone or the network is down ({error}); "
            "restart all workers from the last checkpoint."
        ) from error


def _send_sum(state: HookState, parts: list[Part], local_norm: Tensor | None) -> tuple[dist.Work, Tensor]:
    # Divided before the sum, as DDP does, so that half precision does not overflow.
    payload = torch.cat([part.payload for part in parts]).div_(state.workers)
    if local_norm is not None:
        payload = torch.cat([payload, norm.slots(local_norm, state.rank, state.workers, payload.dtype)])
    state.meter.sent(payload.nbytes, copies=2 * (state.workers - 1) / state.workers)
    return _started(dist.all_reduce(payload, group=state.process_group, async_op=True)), payload


def _read_sum(parts: list[Part], received: Tensor) -> None:
    sizes = [len(part.payload) for part in parts]
    for part, payload in zip(parts, received[: sum(sizes)].split(sizes)):
        part.from_sum(payload)


def _send_rows(state: HookState, parts: list[Part], local_norm: Tensor | None) -> tuple[dist.Work, Tensor]:
    ending = [] if local_norm is None else [as_bytes(local_norm.view(1))]
    row = torch.cat([part.row() for part in parts] + ending)
    rows = row.new_empty(state.workers * len(row))
    state.meter.sent(row.nbytes, copies=state.workers - 1)
    work = _started(_all_gather(rows, row, group=state.process_group, async_op=True))
    return work, rows.view(state.workers, len(row))


def _read_rows(parts: list[Part], received: Tensor) -> None:
    sizes = [max(part.sizes) for part in parts]
    for part, rows in zip(parts, received[:, : sum(sizes)].split(sizes, dim=1)):
        part.from_rows(rows)


def _started(work: dist.Work | None) -> dist.Work:
    assert work is not None  # this process belongs to the group
    return work
