"""Does compressing pay on this link? Bytes, the time that coding takes, and the head-room that no compression can pass."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from stablestep.errors import is_number, require, shown
from stablestep.torch.exchange.parameter import sent
from stablestep.torch.survey.workers import Workers
from stablestep.torch.wire.bits import as_bytes
from stablestep.torch.wire.transmit import Channel, copies

Tensor = torch.Tensor
RATES = (1e8, 1e9, 1e10, 1e11)
REPEATS = 3
WORTH = 1.05  # a speed-up below this is noise


@dataclass(frozen=True)
class StepCost:
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


def links(cost: StepCost, rate: float | None) -> list[Link]:
    """The step at one rate, or at 100 Mbit/s, 1, 10 and 100 Gbit/s.

    >>> [link.pays for link in links(StepCost(compute=0.1, coding=0.05, dense_bytes=1e8, bytes=1e6), None)]
    [True, True, True, False]
    """

    def at(rate: float) -> Link:
        wire = 8 / rate
        dense = cost.compute + cost.dense_bytes * wire
        return Link(rate, dense, cost.compute + cost.coding + cost.bytes * wire, cost.compute)

    return [at(rate) for rate in (RATES if rate is None else (rate,))]


def step_cost(workers: Workers) -> StepCost:
    """Measure a step of one of the workers here and now."""
    landscape, batch = workers.landscape, workers.batch(0)
    _, gradient = landscape.gradient(batch)
    size = sum(parameter.nbytes for parameter in landscape.parameters)
    crossed, coding = 0.0, 0.0
    for number, piece in enumerate(gradient.split(landscape.sizes)):
        seconds, crossing = _coding(workers.channel(number, piece, 0), piece)
        crossed, coding = crossed + crossing, coding + seconds
    compute = _median(lambda _: landscape.gradient(batch))
    return StepCost(compute, coding, copies(True, workers.agents) * size, crossed)


def measured_rate(workers: Workers) -> float | None:
    """bit/s of an all-reduce as large as the gradient, where a process group is there; all its workers have to call this."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    gradient = workers.landscape.point()
    seconds = torch.tensor(_median(lambda _: dist.all_reduce(gradient)), dtype=torch.float64, device=gradient.device)
    dist.all_reduce(seconds, op=dist.ReduceOp.MAX)
    count = dist.get_world_size()
    return 8 * 2 * (count - 1) / count * gradient.numel() * gradient.element_size() / float(seconds)


def checked_rate(rate: Any) -> float | None:
    """`rate`, if a link can have it."""
    fits = rate is None or (is_number(rate) and 1e3 <= float(rate) < 1e15)
    require(fits, f"link is {shown(rate)}, but must be a rate in bit/s, such as 1e9.")
    return None if rate is None else float(rate)


def _coding(channel: Channel, piece: Tensor) -> tuple[float, float]:
    """Seconds to make and read a parameter's messages, by the hook's own hands, and the bytes that cross the link."""
    across = copies(channel.summed, channel.workers)
    if channel.codec.linear and not channel.codec.random:  # the gradient itself: no work
        return 0.0, across * piece.nbytes
    rows = _rows(channel, piece)

    def once(flat: Tensor) -> None:
        own = sent(channel, flat, rank=0, scale=1.0)
        if channel.summed:
            own.from_sum(own.payload)
        else:
            own.from_rows(rows)

    # The mean message takes the gradient's place, so every try has a gradient of its own.
    return _median(once, piece.clone), across * max(row.nbytes for row in rows)


def _rows(channel: Channel, piece: Tensor) -> list[Tensor]:
    """Payloads of all workers; the same one for all where their sizes are the same."""
    senders = range(channel.workers if channel.read_by_plan else 1)
    made = [as_bytes(channel.codec.encode(piece, channel.plan(len(piece), worker))) for worker in senders]
    return made if channel.read_by_plan else made * channel.workers


def _median(run: Callable[[Any], object], prepare: Callable[[], Any] = lambda: None) -> float:
    """Seconds of a run, the median after one to warm up; preparing is not counted."""

    def once() -> float:
        prepared = prepare()
        _synchronize()
        before = time.perf_counter()
        run(prepared)
        _synchronize()
        return time.perf_counter() - before

    once()
    return statistics.median(once() for _ in range(REPEATS))


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
