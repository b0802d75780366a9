"""One backward: DDP's buckets come in, groups of parameters go out in a fixed order, and all buckets are ready together."""

import torch
import torch.distributed as dist

from stablestep.errors import require
from stablestep.torch.codec import squared_norm
from stablestep.torch.collective import send
from stablestep.torch.layout import layout
from stablestep.torch.part import Part, part
from stablestep.torch.state import HookState

Tensor = torch.Tensor
Future = torch.futures.Future
Bucket = dist.GradBucket  # pyright: ignore[reportPrivateImportUsage]


class Exchange:
    """The exchange of one backward.

    A group starts when all its gradients have come and all groups before it have started. In the first backward the parameters, and so
    the groups, are known at the end only. DDP looks at the buckets' futures after the last one, so they may end together.
    """

    def __init__(self, state: HookState):
        self.state, self.groups = state, state.groups
        self.flats: dict[Tensor, Tensor] = {}
        self.futures: list[Future] = []
        self.parts: list[Part] = []
        self.gates: list[tuple[Future, Tensor]] = []
        self.error: Exception | None = None

    def add(self, bucket: Bucket) -> Future:
        """One more bucket."""
        for parameter, flat in _flats(bucket):
            self.state.roster.number(parameter)
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
        self.state.roster.complete()
        self._check_groups()
        self.groups = self.state.groups = self.groups or layout(self.state.roster.parameters, self.state.group_bytes)
        self._send_ready()

        def finish(done: Future) -> Tensor:
            try:
                for future in (done, *self.futures):
                    future.value()
                self._watch()
                self.state.meter.lost([piece.lost for piece in self.parts if piece.lost is not None])
                buffer.add_(self.state.meter.poison.to(buffer.dtype))
            except Exception as error:
                self.error = error
                raise
            finally:
                self._open_gates()
            return buffer

        return _joined(self.futures, buffer).then(finish)

    def _check_groups(self) -> None:
        require(
            not self.groups or len(self.flats) == sum(map(len, self.groups)),
            "the model has other parameters than in its first backward; use a new HookState for each DDP model.",
        )

    def _send_ready(self) -> None:
        for group in self.groups[len(self.futures) :]:
            if not all(parameter in self.flats for parameter in group):
                return
            parts = [part(self.state, parameter, self.flats[parameter]) for parameter in group]
            self.state.meter.gradient([piece.square for piece in parts])
            self.parts += parts
            last = len(self.futures) == len(self.groups) - 1
            self.futures.append(send(self.state, parts, self.state.meter.local_norm if last else None))

    def _watch(self) -> None:
        if self.state.meter.watch:
            self.state.meter.message_square = torch.stack([squared_norm(piece.flat) for piece in self.parts]).sum()

    def _open_gates(self) -> None:
        # Also after an error: DDP waits for the first bucket first, and would wait for ever.
        for gate, buffer in self.gates:
            gate.set_result(buffer)


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
