"""Buffers, such as the running means of BatchNorm: those that change are averaged where they are of a floating-point type."""

import torch
import torch.distributed as dist

from stablestep.torch.exchange.group import network
from stablestep.torch.local.shot import WHAT
from stablestep.torch.wire.transmit import copies

Tensor = torch.Tensor


class Buffers:
    """The floating-point buffers of a model, and what they were when the round began."""

    def __init__(self, model: torch.nn.Module):
        self.model = model
        self.names = [name for name, buffer in model.named_buffers() if buffer.is_floating_point() and buffer.numel()]
        self.before: dict[str, Tensor] = {}
        self.remember()

    def now(self) -> dict[str, Tensor]:
        """Those of the model, which may replace a buffer by another tensor."""
        found = dict(self.model.named_buffers())
        return {name: found[name].detach() for name in self.names}

    def remember(self) -> None:
        """A round begins."""
        self.before = {name: buffer.clone() for name, buffer in self.now().items()}

    def restore(self) -> None:
        """As the round began."""
        self.write(self.before)

    def write(self, values: dict[str, Tensor]) -> None:
        """Set some of them."""
        found = self.now()
        for name, value in values.items():
            found[name].copy_(value)

    def changed(self) -> list[bool]:
        """Which ones did in this round; a NaN always does."""
        return [not torch.equal(buffer, self.before[name]) for name, buffer in self.now().items()]

    def mean(
        self, chosen: list[bool], workers: int, group: dist.ProcessGroup | None
    ) -> tuple[dict[str, Tensor], int, int]:
        """The mean of some over the workers, and the bytes of the payload and over this worker's link; a collective, if there are any."""
        own = [(name, buffer) for (name, buffer), wanted in zip(self.now().items(), chosen) if wanted]
        if not own:
            return {}, 0, 0
        total = torch.cat([buffer.reshape(-1).double() for _, buffer in own]).div_(workers)
        with network(WHAT):
            dist.all_reduce(total, group=group)
        parts = total.split([buffer.numel() for _, buffer in own])
        means = {name: part.view(buffer.shape).to(buffer.dtype) for (name, buffer), part in zip(own, parts)}
        return means, total.nbytes, round(total.nbytes * copies(True, workers))
