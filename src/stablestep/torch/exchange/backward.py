"""One backward: DDP's buckets come in, groups of parameters go out in a fixed order, and all buckets are ready together."""

import torch
import torch.distributed as dist

from stablestep.errors import require
from stablestep.torch.exchange import norms
from stablestep.torch.exchange.encode import Encoder
from stablestep.torch.exchange.group import SentGroup, send
from stablestep.torch.exchange.layout import layout
from stablestep.torch.exchange.matrix import SentMatrix, seconds
from stablestep.torch.exchange.parameter import SentParameter, zero_or_nan
from stablestep.torch.exchange.run import Run
from stablestep.torch.exchange.settings import Settings

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
        run.memories.settle()
        self.encode = Encoder(settings, run, scale, run.meter.exchanges)
        self.flats: dict[Tensor, Tensor] = {}
        self.buckets: dict[int, list[Tensor]] = {}
        self.groups: list[SentGroup] = []
        self.factors: list[SentGroup] = []  # the second rounds of matrices
        self.sent: dict[int, SentParameter] = {}
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
        self._send_factors()
        futures = [group.future for group in (*self.groups, *self.factors)]

        def finish(done: Future) -> Tensor:
            try:
                for future in (done, *futures):
                    future.value()
                tails = self.groups[-1].tails()
                if self.settings.remembers:
                    self._clear_unused(tails)
                self.run.earlier.give_back()
                self._measure(tails)
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
            own = {
                self.run.roster.number(parameter): self.encode(parameter, self.flats[parameter]) for parameter in group
            }
            self.sent |= own
            meter.gradient([one.square for one in own.values()])
            last = len(self.groups) == len(self.run.groups) - 1
            self.groups.append(send(self.run, list(own.values()), self._tail() if last else None))

    def _send_factors(self) -> None:
        """Second rounds. Waiting is safe in the body of the last hook only: inside a future's callback gloo would hang."""
        for group, going in zip(self.run.groups, self.groups):
            own = [self.sent[self.run.roster.number(parameter)] for parameter in group]
            if any(isinstance(one, SentMatrix) for one in own):
                going.future.wait()
                self.factors.append(send(self.run, seconds(own), None))

    def _tail(self) -> Tensor:
        meter, earlier = self.run.meter, self.run.earlier
        # What an earlier message is part of is at most as large as the sum of both norms.
        norm = meter.local_norm + meter.norms[self.run.rank] if earlier.added_to else meter.local_norm
        if not self.settings.remembers:
            return norms.tail(norm)
        squares = [self.sent[number].square.to(norm.device) for number in range(len(self.sent))]
        return norms.tail(norm, torch.stack(squares) != 0)

    def _clear_unused(self, tails: Tensor) -> None:
        """A parameter whose gradient is 0 on all workers has no message: DDP would drop it, and a memory would lose it."""
        for number, here in enumerate(norms.used(tails, len(self.sent)).unbind()):
            _clear(self.sent[number].flat, here)

    def _measure(self, tails: Tensor) -> None:
        """All messages have arrived; those beyond the range of their type spoil the norms, so that all workers skip the step."""
        sent = self.sent.values()
        found = norms.norms(tails) + torch.stack([zero_or_nan(one.flat) for one in sent if len(one.flat)]).sum()
        if self.settings.remembers:
            counts = norms.used(tails, len(sent)) & found.isfinite().all()
            self.run.memories.commit({number: one.sending for number, one in self.sent.items()}, counts)
        lost = [one.lost for one in sent if one.lost is not None]
        self.run.meter.end(found, lost, [one.sending.square for one in sent])

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
