"""Six small trainings from data that every machine has: a batch for each worker and step, and a loss."""

import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

Tensor = torch.Tensor
WORKERS, BATCH = 4, 16


@dataclass(frozen=True)
class Training:
    """A task: weights that are matrices or biases, data [n, …], and the loss of outputs against targets."""

    name: str
    make: Callable[[], nn.Module]
    data: Callable[[], tuple[Tensor, Tensor]]
    loss: Callable[[Tensor, Tensor], Tensor]


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Images [1797, 64] in [0, 1], and their labels."""
    found = load_digits()
    return torch.tensor(found.data / 16, dtype=torch.float32), torch.tensor(found.target)


@cache
def texts(width: int) -> tuple[Tensor, Tensor]:
    """Windows of `width` bytes of the standard library's sources, below 96, and the byte that follows."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:40]
    codes = np.frombuffer(b"".join(path.read_bytes() for path in files), dtype=np.uint8)
    codes = torch.tensor(np.clip(codes.astype(np.int64) - 32, 0, 95))
    starts = torch.arange(0, len(codes) - width - 1, 7)
    return codes[starts[:, None] + torch.arange(width)], codes[starts + width]


@cache
def taught() -> tuple[Tensor, Tensor]:
    """Gaussian inputs [4096, 20] and a random tanh network's answers."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4096, 20, generator=generator)
    w, v = torch.randn(20, 10, generator=generator) / 20**0.5, torch.randn(10, 1, generator=generator) / 10**0.5
    return x, (2 * torch.tanh(2 * x @ w) @ v)


def _images() -> tuple[Tensor, Tensor]:
    return digits()[0], digits()[0]


def _power_law() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4096, 100, generator=generator) * torch.arange(1, 101) ** -0.5
    return x, x @ torch.randn(100, 1, generator=generator) + 0.1 * torch.randn(4096, 1, generator=generator)


class Bytes(nn.Module):
    """Embedded bytes, one hidden layer."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.embed, self.into, self.out = nn.Embedding(96, 8), nn.Linear(8 * width, hidden), nn.Linear(hidden, 96)

    def forward(self, codes: Tensor) -> Tensor:
        return self.out(F.gelu(self.into(self.embed(codes).flatten(-2))))


class Conv(nn.Module):
    """Two convolutions on 8 × 8 pixels, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.out = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(*x.shape[:-1], 1, 8, 8)
        return self.out(F.relu(self.second(F.relu(self.first(x)))).flatten(-3))


def _layers(*sizes: int, act: type[nn.Module]) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), act()]
    return nn.Sequential(*layers[:-1])


# The governor's constants were chosen on the first two, in a study that then looked at trainings like the next two.
CHOSE, SEEN = ("digits", "teacher"), ("bytes", "autoencoder")
TRAININGS = {
    one.name: one
    for one in (
        Training("digits", partial(_layers, 64, 32, 10, act=nn.ReLU), digits, F.cross_entropy),
        Training("teacher", partial(_layers, 20, 16, 1, act=nn.Tanh), taught, F.mse_loss),
        Training("bytes", partial(Bytes, 4, 32), partial(texts, 4), F.cross_entropy),
        Training("autoencoder", partial(_layers, 64, 24, 8, 24, 64, act=nn.Tanh), _images, F.mse_loss),
        Training("conv", Conv, digits, F.cross_entropy),
        Training("power law", partial(_layers, 100, 1, act=nn.Identity), _power_law, F.mse_loss),
    )
}
