"""One backward: DDP's buckets come in, groups of parameters go out in a fixed order, and all buckets are ready together."""

import torch
import torch.distributed as dist

from stablestep.errors import require
from stablestep.torch.exchange import norms
from stablestep.torch.exchange.group import SentGroup, send
from stablestep.torch.exchange.layout import layout
from stablestep.torch.exchange.parameter import SentParameter, sent
from stablestep.torch.exchange.run import Run
from stablestep.torch.exchange.settings import Settings
from stablestep.torch.wire.codec import squared_norm
from stablestep.torch.wire.randomness import Draw, drawer
from stablestep.torch.wire.transmit import Channel

Tensor = torch.Tensor
Future = torch.futures.Future
Bucket = dist.GradBucket  # pyright: ignore[reportPrivateImportUsage]


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
        run.memories.settle()
        self.step = run.meter.exchanges
        self.flats: dict[Tensor, Tensor] = {}
        self.groups: list[SentGroup] = []
        self.sent: dict[int, SentParameter] = {}
        self.gates: list[tuple[Future, Tensor]] = []
        self.error: Exception | None = None

    def add(self, bucket: Bucket) -> Future:
        """One more bucket."""
        for parameter, flat in _flats(bucket):
            self.run.roster.number(parameter)
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
        self.run.roster.complete()
        self._check_groups()
        self.run.groups = self.run.groups or layout(self.run.roster.parameters, self.settings.group_bytes)
        self._send_ready()
        futures = [group.future for group in self.groups]

        def finish(done: Future) -> Tensor:
            try:
                for future in (done, *futures):
                    future.value()
                self._measure()
                buffer.add_(self.run.meter.poison.to(buffer.dtype))
            except Exception as error:
                self.error = error
                raise
            finally:
                self._open_gates()
            return buffer

        return _joined(futures, buffer).then(finish)

    def _check_groups(self) -> None:
        require(
            not self.run.groups or len(self.flats) == sum(map(len, self.run.groups)),
            "the model has other parameters than in its first backward; use a new HookState for each DDP model.",
        )

    def _send_ready(self) -> None:
        meter = self.run.meter
        for group in self.run.groups[len(self.groups) :]:
            if not all(parameter in self.flats for parameter in group):
                return
            own = {self.run.roster.number(parameter): self._sent(parameter) for parameter in group}
            self.sent |= own
            meter.gradient([one.square for one in own.values()])
            last = len(self.groups) == len(self.run.groups) - 1
            going = send(self.run, list(own.values()), self._tail() if last else None)
            meter.sent(going.nbytes, going.copies)
            self.groups.append(going)

    def _tail(self) -> Tensor:
        norm = self.run.meter.local_norm
        if not self.settings.remembers:
            return norms.tail(norm)
        squares = [self.sent[number].square.to(norm.device) for number in range(len(self.sent))]
        return norms.tail(norm, torch.stack(squares) != 0)

    def _sent(self, parameter: Tensor) -> SentParameter:
        flat, number = self.flats[parameter], self.run.roster.number(parameter)
        kept = self.run.memories.of(number, flat)
        codec, chain = self.settings.coding_for(parameter, begun=kept is not None)

        def draw(worker: int | None) -> Draw:
            return drawer(flat, self.settings.seed, self.step, number, worker)

        channel = Channel(codec, self.run.workers, self.settings.shared, draw)
        return sent(channel, flat, self.run.rank, self.scale, chain, kept)

    def _measure(self) -> None:
        """All messages have arrived."""
        meter, sent, tails = self.run.meter, self.sent.values(), self.groups[-1].tails()
        if self.settings.remembers:
            self._remember(tails)
        if meter.watch:
            meter.message_square = torch.stack([squared_norm(one.flat) for one in sent]).sum()
        lost = [one.lost for one in sent if one.lost is not None]
        meter.end(norms.norms(tails), lost, [one.sending.square for one in sent])

    def _remember(self, tails: Tensor) -> None:
        """Keep the new memories of parameters that took part; the others have no message."""
        took_part = norms.used(tails, len(self.sent))
        for number, here in enumerate(took_part.unbind()):
            _clear(self.sent[number].flat, here)
        finite = norms.norms(tails).isfinite().all()
        self.run.memories.commit({number: one.sending for number, one in self.sent.items()}, took_part & finite)

    def _open_gates(self) -> None:
        # Also after an error: DDP waits for the first bucket first, and would wait for ever.
        for gate, buffer in self.gates:
            gate.set_result(buffer)


def _clear(flat: Tensor, unless: Tensor) -> None:
    if flat.device.type != "cpu":
        flat.masked_fill_(~unless.to(flat.device), 0)
    elif not unless:
        flat.zero_()


def _flats(bucket: Bucket) -> list[tuple[Tensor, Tensor]]:
    parameters = bucket.parameters()
    return list(zip(parameters, bucket.buffer().split([parameter.numel() for parameter in parameters])))


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
