"""One backward: DDP's buckets come in, groups of parameters go out in a fixed order, and all buckets are ready together."""

import torch
import torch.distributed as dist

from stablestep.errors import require
from stablestep.torch.exchange.group import SentGroup, send
from stablestep.torch.exchange.layout import layout
from stablestep.torch.exchange.parameter import SentParameter, sent
from stablestep.torch.exchange.run import Run
from stablestep.torch.exchange.settings import Settings
from stablestep.torch.wire.randomness import Draw, drawer
from stablestep.torch.wire.transmit import Channel

Tensor = torch.Tensor
Future = torch.futures.Future
Bucket = dist.GradBucket  # pyright: ignore[reportPrivateImportUsage]
_OTHER = "the model has other parameters than in its first backward; use a new HookState for each DDP model."


class Backward:
    """The exchange of one backward.

    A group starts when all its gradients have come and all groups before it have started. In the first backward the parameters, and so
    the groups, are known at the end only. DDP looks at the buckets' futures after the last one, so they may end together.

    Args:
        settings: of the hook.
        run: what it has seen so far.
        scale: that of a GradScaler.
    """

    def __init__(self, settings: Settings, run: Run, scale: float):
        self.settings, self.run, self.scale = settings, run, scale
        run.meter.begin(scale)
        self.step = run.meter.exchanges
        self.flats: dict[Tensor, Tensor] = {}
        self.buckets: dict[int, list[Tensor]] = {}
        self.groups: list[SentGroup] = []
        self.sent: list[SentParameter] = []
        self.gates: list[tuple[Future, Tensor]] = []
        self.error: Exception | None = None
        self.ended = False

    def is_over(self, bucket: Bucket) -> bool:
        """Whether this bucket begins another backward, also where this one broke off.

        Raises:
            InvalidInput: if DDP does not number its buckets, as with static_graph in the first backward.
        """
        if bucket.index() > 0:
            return False
        parameters = bucket.parameters()
        require(
            self.ended or not parameters or parameters[0] in self.flats,
            "with static_graph=True and parameters of several types DDP does not tell which bucket is the last one in the first backward; "
            "leave static_graph out, or make all parameters of one type.",
        )
        return True

    def add(self, bucket: Bucket) -> Future:
        """One more bucket."""
        self._check_known(bucket.parameters())
        self.buckets[bucket.index()] = bucket.parameters()
        for parameter, flat in _flats(bucket):
            self.run.earlier.take(parameter, flat)
            self.flats[parameter] = flat
        return self._end(bucket.buffer()) if bucket.is_last() else self._later(bucket.buffer())

    def _later(self, buffer: Tensor) -> Future:
        self._send_ready()
        gate = Future(devices=_devices(buffer))
        self.gates.append((gate, buffer))
        return gate.then(self._open)

    def _open(self, gate: Future) -> Tensor:
        if self.error is not None:
            raise self.error
        return gate.value()

    def _end(self, buffer: Tensor) -> Future:
        self.ended = True
        if not self.run.groups:
            self._begin_run()
        require(len(self.flats) == len(self.run.roster.parameters), _OTHER)
        self._send_ready()
        futures = [group.future for group in self.groups]

        def finish(done: Future) -> Tensor:
            try:
                for future in (done, *futures):
                    future.value()
                self.run.earlier.give_back()
                self._measure()
                buffer.add_(self.run.meter.poison.to(buffer.dtype))
            except Exception as error:
                self.error = error
                raise
            finally:
                self._open_gates()
            return buffer

        return _joined(futures, buffer).then(finish)

    def _begin_run(self) -> None:
        """The first backward has shown all parameters."""
        self.run.roster.enrol([self.buckets[index] for index in sorted(self.buckets)])
        self.run.groups = layout(self.run.roster.parameters, self.settings.group_bytes)

    def _check_known(self, parameters: list[Tensor]) -> None:
        require(not self.run.groups or self.run.roster.knows(parameters), _OTHER)

    def _send_ready(self) -> None:
        meter = self.run.meter
        for group in self.run.groups[len(self.groups) :]:
            if not all(parameter in self.flats for parameter in group):
                return
            own = [self._sent(parameter) for parameter in group]
            meter.gradient([one.square for one in own])
            last = len(self.groups) == len(self.run.groups) - 1
            going = send(self.run, own, self._local_norm() if last else None)
            meter.sent(going.nbytes, going.copies)
            self.sent += own
            self.groups.append(going)

    def _sent(self, parameter: Tensor) -> SentParameter:
        flat, number = self.flats[parameter], self.run.roster.number(parameter)

        def draw(worker: int | None) -> Draw:
            return drawer(flat, self.settings.seed, self.step, number, worker)

        channel = Channel(self.settings.codec_for(parameter), self.run.workers, self.settings.shared, draw)
        return sent(channel, flat, self.run.rank, self.scale)

    def _local_norm(self) -> Tensor:
        """Of this worker's gradient; what an earlier message is part of is at most as large as the sum of both norms."""
        meter = self.run.meter
        return meter.local_norm + meter.norms[self.run.rank] if self.run.earlier.added_to else meter.local_norm

    def _measure(self) -> None:
        """All messages have arrived; those beyond the range of their type spoil the norms, so that all workers skip the step."""
        spoiled = torch.stack([_zero_or_nan(one.flat) for one in self.sent if len(one.flat)]).sum()
        lost = [one.lost for one in self.sent if one.lost is not None]
        self.run.meter.end(self.groups[-1].norms() + spoiled, lost)

    def _open_gates(self) -> None:
        # Also after an error: DDP waits for the first bucket first, and would wait for ever.
        for gate, buffer in self.gates:
            gate.set_result(buffer)


def _flats(bucket: Bucket) -> list[tuple[Tensor, Tensor]]:
    parameters = bucket.parameters()
    return list(zip(parameters, bucket.buffer().split([parameter.numel() for parameter in parameters])))


def _zero_or_nan(values: Tensor) -> Tensor:
    """0 (float64), or NaN if not all values are finite."""
    low, high = values.aminmax()
    return (low * 0 + high * 0).double()


def _devices(buffer: Tensor) -> list[int | str | torch.device] | None:
    return None if buffer.device.type == "cpu" else [buffer.device]


def _joined(futures: list[Future], buffer: Tensor) -> Future:
    """A future that ends after all of them."""
    if buffer.device.type == "cpu":
        return torch.futures.collect_all(futures)

    def wait(last: Future) -> Tensor:
        # A joined future knows no GPU. Here waiting only orders streams; with gloo on the CPU it would hang.
        for future in futures[:-1]:
            future.wait()
        return last.value()

    return futures[-1].then(wait)
