"""Does compressing pay on this link? Bytes, the time that coding takes, and the head-room that no compression can pass."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from stablestep.errors import require
from stablestep.torch.codec import Codec, squared_norm, working
from stablestep.torch.workers import Workers

Tensor = torch.Tensor
RATES = (1e8, 1e9, 1e10, 1e11)
REPEATS = 3
WORTH = 1.05  # a speed-up below this is noise


@dataclass(frozen=True)
class Exchange:
    """One step of one worker: seconds of computing and of coding, bytes over its link with and without compression."""

    compute: float
    coding: float
    dense_bytes: float
    bytes: float


@dataclass(frozen=True)
class Link:
    """A step at a rate in bit/s, computing and sending one after the other: seconds uncompressed, compressed, and with nothing sent."""

    rate: float
    dense: float
    compressed: float
    silent: float

    @property
    def speedup(self) -> float:
        """How much faster a step becomes."""
        return self.dense / self.compressed

    @property
    def headroom(self) -> float:
        """How much faster a hook that sends nothing would make it: no compression can do better."""
        return self.dense / self.silent

    @property
    def pays(self) -> bool:
        """Whether compressing makes a step at least 5 % faster."""
        return self.speedup > WORTH


def links(exchange: Exchange, rate: float | None) -> list[Link]:
    """The step at one rate, or at 100 Mbit/s, 1, 10 and 100 Gbit/s.

    >>> [link.pays for link in links(Exchange(compute=0.1, coding=0.05, dense_bytes=1e8, bytes=1e6), None)]
    [True, True, True, False]
    """

    def at(rate: float) -> Link:
        wire = 8 / rate
        dense = exchange.compute + exchange.dense_bytes * wire
        return Link(rate, dense, exchange.compute + exchange.coding + exchange.bytes * wire, exchange.compute)

    return [at(rate) for rate in (RATES if rate is None else (rate,))]


def exchange(workers: Workers) -> Exchange:
    """Measure a step of one of the workers here and now."""
    batch = workers.batch(0)
    _, gradient = workers.gradient(batch)
    size = sum(parameter.nbytes for parameter in workers.parameters)
    sent, coding = 0.0, 0.0
    for number, (codec, piece) in enumerate(zip(workers.codecs, gradient.split(workers.sizes))):
        seconds, copies, payload = _code(workers, codec, piece, number)
        sent, coding = sent + copies * payload, coding + seconds
    return Exchange(_median(lambda: workers.gradient(batch)), coding, _copies(workers, True) * size, sent)


def measured_rate(workers: Workers) -> float | None:
    """bit/s of an all-reduce as large as the gradient, where a process group is there; all its workers have to call this."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    gradient = workers.point()
    seconds = torch.tensor(_median(lambda: dist.all_reduce(gradient)), dtype=torch.float64, device=gradient.device)
    dist.all_reduce(seconds, op=dist.ReduceOp.MAX)
    count = dist.get_world_size()
    return 8 * 2 * (count - 1) / count * gradient.numel() * gradient.element_size() / float(seconds)


def checked_rate(rate: float | None) -> None:
    """Raise unless a link can have this rate."""
    require(rate is None or 1e3 <= rate < 1e15, f"link is {rate}, but must be a rate in bit/s, such as 1e9.")


def _copies(workers: Workers, summed: bool) -> float:
    count = workers.agents
    return 2 * (count - 1) / count if summed else count - 1


def _code(workers: Workers, codec: Codec, piece: Tensor, number: int) -> tuple[float, float, int]:
    """Seconds to make and read a parameter's messages as the hook does, how often the payload crosses the link, and its bytes."""
    summed = codec.linear and (workers.state.shared or not codec.random)
    if not codec.random and codec.linear:  # the gradient itself: no work
        return 0.0, _copies(workers, True), piece.nbytes
    own = codec.planned and not summed  # to read the others' messages takes their plans
    senders = range(workers.agents) if own else [None]

    def once() -> int:
        square = squared_norm(piece)
        plans = [workers.plan(codec, piece, number, worker, (0,)) for worker in senders]
        payloads = [codec.encode(piece, plan) for plan in plans]
        codec.squared_error(piece, payloads[0], square)
        total = torch.zeros_like(working(piece))
        for reader in range(1 if summed else workers.agents):
            codec.add(total, payloads[reader % len(plans)], plans[reader % len(plans)])
        codec.finish(total)
        return max(payload.nbytes for payload in payloads)

    return _median(once), _copies(workers, summed), once()


def _median(run: Callable[[], object]) -> float:
    def once() -> float:
        _synchronize()
        before = time.perf_counter()
        run()
        _synchronize()
        return time.perf_counter() - before

    run()
    return statistics.median(once() for _ in range(REPEATS))


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
