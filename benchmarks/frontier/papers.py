"""Methods of papers that fit on a page each, exchanged by hand."""

import math
from functools import cache

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim import SGD

from benchmarks.frontier import optimizers
from benchmarks.frontier.entrant import Entrant, Run, Trainer

BLOCK = 1024
CHUNK, KEPT = 64, 32


def gathered(own: Tensor) -> list[Tensor]:
    """Everybody's tensor; gloo takes bytes of every kind."""
    raw = own.contiguous().view(torch.uint8)
    rows = [torch.empty_like(raw) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, raw)
    return [row.view(own.dtype) for row in rows]


class LocalInt8:
    """DiLoCo with deltas of 8 bits: H local steps, the blockwise rounded difference with error memory, an outer Nesterov step."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, every: int = 16):
        self.model, self.optimizer, self.every, self.count = model, optimizer, every, 0
        self.anchor = parameters_to_vector(model.parameters()).detach().clone()
        self.error, self.outer = torch.zeros_like(self.anchor), SGD([self.anchor], 0.7, momentum=0.6, nesterov=True)

    def synchronised(self) -> bool:
        return self.count % self.every == 0

    def step(self) -> None:
        self.optimizer.step()
        self.count += 1
        if self.synchronised():
            self.exchange()

    def finish(self) -> None:
        if not self.synchronised():
            self.exchange()

    @torch.no_grad()
    def exchange(self) -> None:
        wanted = self.anchor - parameters_to_vector(self.model.parameters()) + self.error
        rows = nn.functional.pad(wanted, (0, -len(wanted) % BLOCK)).view(-1, BLOCK)
        unit = rows.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
        codes = (rows / unit).round().to(torch.int8)
        self.error = wanted - (codes * unit).flatten()[: len(wanted)]
        each = [code * size for code, size in zip(gathered(codes), gathered(unit))]
        self.anchor.grad = torch.stack(each).mean(0).flatten()[: len(wanted)]
        self.outer.step()
        vector_to_parameters(self.anchor.clone(), self.model.parameters())  # which become views of it


def local_int8(model: nn.Module, run: Run) -> Trainer:
    local = LocalInt8(model, optimizers.adamw(model, run.lr))
    return Trainer(model, local.optimizer, local.step, local.synchronised, local.finish)


@cache
def cosines(size: int) -> Tensor:
    """The orthonormal discrete cosine transform."""
    place = torch.arange(size)
    rows = math.sqrt(2 / size) * torch.cos(math.pi / size * (place + 0.5) * place[:, None])
    rows[0] /= math.sqrt(2)
    return rows


class DeMo(SGD):
    """Decoupled momentum (Peng, Quesnelle, Kingma 2024): what is sent, the largest cosine coefficients, leaves the momentum.

    Chunks of at most 64×64; 32 coefficients of each (an eighth of small ones), 16 bits for the value and for its place; then the sign.
    """

    def __init__(self, model: nn.Module, lr: float, decay: float = 0.999):
        super().__init__(model.parameters(), lr=lr)
        self.decay = decay

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        parameters = self.param_groups[0]["params"]
        sent = [self._send(parameter) for parameter in parameters]
        values, places = (gathered(torch.cat([part.flatten() for part in parts])) for parts in zip(*sent))
        sizes = [value.numel() for value, _ in sent]
        rows = zip(*(each.split(sizes) for each in (*values, *places)))
        for parameter, row, (value, _) in zip(parameters, rows, sent):
            arrived = torch.zeros(len(value), math.prod(_chunk(parameter)))
            for worker in range(len(values)):
                place, own = row[len(values) + worker].view_as(value).long(), row[worker].view_as(value)
                arrived.scatter_add_(1, place, own.float())
            parameter.sub_(_inverse(arrived, parameter).sign(), alpha=self.param_groups[0]["lr"])

    def _send(self, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """Values and places of the largest coefficients, a row for each chunk."""
        memory = self.state[parameter].setdefault("memory", torch.zeros_like(parameter))
        memory.mul_(self.decay).add_(parameter.grad, alpha=self.param_groups[0]["lr"])
        rows = _forward(memory)
        place = rows.abs().topk(min(KEPT, max(1, rows.shape[1] // 8)), dim=1).indices
        value = rows.gather(1, place).bfloat16()
        memory.sub_(_inverse(torch.zeros_like(rows).scatter_(1, place, value.float()), parameter))
        return value, place.to(torch.int16)


@cache
def _divisor(size: int) -> int:
    return max(each for each in range(1, CHUNK + 1) if size % each == 0)


def _chunk(parameter: Tensor) -> tuple[int, int]:
    matrix = parameter.view(-1, 1) if parameter.dim() == 1 else parameter.flatten(1)
    return _divisor(matrix.shape[0]), _divisor(matrix.shape[1])


def _forward(tensor: Tensor) -> Tensor:
    """Coefficients, a row for each chunk."""
    height, width = _chunk(tensor)
    chunks = tensor.reshape(tensor.shape[0] // height, height, -1, width).transpose(1, 2)
    return (cosines(height) @ chunks @ cosines(width).T).flatten(2).flatten(0, 1)


def _inverse(rows: Tensor, like: Tensor) -> Tensor:
    height, width = _chunk(like)
    chunks = rows.view(like.shape[0] // height, -1, height, width)
    return (cosines(height).T @ chunks @ cosines(width)).transpose(1, 2).reshape(like.shape)


def demo(model: nn.Module, run: Run) -> Trainer:
    optimizer = DeMo(model, run.lr)
    return Trainer(model, optimizer, optimizer.step)


ENTRANTS = (
    Entrant("demo", "DeMo", "theirs", demo, 0.004),
    Entrant("local-int8", "local AdamW, H 16, int8, all-gather", "theirs", local_int8, 0.008, quick=True),
)
