"""One group of parameters on its way: messages in one payload, one asynchronous collective, mean messages written back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from stablestep.torch.exchange import norms
from stablestep.torch.exchange.parameter import SentParameter
from stablestep.torch.exchange.run import Run
from stablestep.torch.wire.transmit import copies

Tensor = torch.Tensor
Future = torch.futures.Future
# The newer name is absent from torch 2.9, the older one deprecated since 2.13.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


@dataclass(frozen=True)
class SentGroup:
    """A group whose collective has started.

    Attributes:
        future: ends when the mean messages are in the parameters.
        summed: whether an all-reduce carries it.
        received: what the collective fills: the sum, or all workers' rows.
        workers: N.
        ending: the number of bytes that end each worker's payload, for `norms`.
    """

    future: Future
    summed: bool
    received: Tensor
    workers: int
    ending: int

    def tails(self) -> Tensor:
        """The bytes [N, bytes] that ended the payloads, once the future has ended."""
        if self.summed:
            return norms.from_slots(self.received[-self.ending * self.workers :], self.workers)
        return self.received[:, -self.ending :]


def send(run: Run, sent: Sequence[SentParameter], tail: Tensor | None) -> SentGroup:
    """Start the group's collective, with the bytes of `norms.tail` at its end if they are given; nothing waits here.

    Results are read from tensors of our own.
    """
    summed = bool(sent) and all(one.channel.summed for one in sent)
    with network():
        work, payload, received = (_send_sum if summed else _send_rows)(run, sent, tail)

    def finish(done: Future) -> Tensor:
        with network():
            done.value()
        (_read_sum if summed else _read_rows)(sent, received)
        return received  # a tensor, so that a GPU's future knows when the kernels above are done

    ending = 0 if tail is None else len(tail)
    run.meter.sent(payload.nbytes, copies(summed, run.workers))
    return SentGroup(work.get_future().then(finish), summed, received, run.workers, ending)


@contextmanager
def network(what: str = "gradients") -> Iterator[None]:
    """Errors of the collectives in words."""
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(
            f"The exchange of {what} failed because a worker is gone or the network is down ({error}); "
            "restart all workers from the last checkpoint."
        ) from error


def _send_sum(run: Run, sent: Sequence[SentParameter], tail: Tensor | None) -> tuple[dist.Work, Tensor, Tensor]:
    # Divided before the sum, as DDP does, so that half precision does not overflow.
    payload = torch.cat([one.payload for one in sent]).div_(run.workers)
    if tail is not None:
        payload = torch.cat([payload, norms.slots(tail, run.rank, run.workers, payload.dtype)])
    return _started(dist.all_reduce(payload, group=run.process_group, async_op=True)), payload, payload


def _read_sum(sent: Sequence[SentParameter], received: Tensor) -> None:
    sizes = [len(one.payload) for one in sent]
    for one, payload in zip(sent, received[: sum(sizes)].split(sizes)):
        one.from_sum(payload)


def _send_rows(run: Run, sent: Sequence[SentParameter], tail: Tensor | None) -> tuple[dist.Work, Tensor, Tensor]:
    ending = [] if tail is None else [tail]
    row = torch.cat([one.row() for one in sent] + ending)
    rows = row.new_empty(run.workers * len(row))
    work = _started(_all_gather(rows, row, group=run.process_group, async_op=True))
    return work, row, rows.view(run.workers, len(row))


def _read_rows(sent: Sequence[SentParameter], received: Tensor) -> None:
    sizes = [max(one.sizes) for one in sent]
    for one, rows in zip(sent, received[:, : sum(sizes)].split(sizes, dim=1)):
        one.from_rows(rows.unbind())


def _started(work: dist.Work | None) -> dist.Work:
    assert work is not None  # this process belongs to the group
    return work
