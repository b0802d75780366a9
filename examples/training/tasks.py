"""Two small things to learn from data that needs no download: scikit-learn's digits, and the source text of Python's standard library."""

import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

Batch = tuple[Tensor, Tensor]
BYTES, CONTEXT, WIDTH, HEADS = 256, 64, 64, 4

# Modules of every Python from 3.11 on; all of them files, not packages; their text differs a little between versions.
TRAIN_MODULES = """argparse ast calendar codecs configparser contextlib csv dataclasses datetime difflib doctest enum fractions
    functools gettext heapq inspect ipaddress locale optparse os pickle platform pprint random shutil smtplib socket statistics
    subprocess tarfile tempfile textwrap threading traceback typing uuid"""
TEST_MODULES = "bz2 cmd mimetypes posixpath trace zipimport"


@dataclass(frozen=True)
class Task:
    """Something to learn. Its loss is a function of the parameters and the batch alone: no dropout, no statistics of batches."""

    name: str
    model: Callable[[int], nn.Module]  # of a seed
    loss: Callable[[nn.Module, Batch], Tensor]  # mean over the batch
    batches: Callable[[int, int], Iterator[Batch]]  # endless and independent, of (worker, seed)
    evaluate: Callable[[nn.Module], dict[str, float]]  # "loss" and "accuracy" on held-out data


def digits(batch: int = 32) -> Task:
    """Images of 8×8 pixels in ten classes, and a convolutional net with 38,000 parameters."""
    images, labels = _digits()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, test = order[360:], order[:360]

    def draw(generator: torch.Generator) -> Batch:
        chosen = train[torch.randint(len(train), (batch,), generator=generator)]
        return images[chosen], labels[chosen]

    return _task("digits", _convolutional, draw, (images[test], labels[test]))


def text(batch: int = 8) -> Task:
    """The next byte of Python's standard library, and a causal transformer with 137,000 parameters."""
    train, test = _source(TRAIN_MODULES), _source(TEST_MODULES)

    def draw(generator: torch.Generator) -> Batch:
        return _windows(train, torch.randint(len(train) - CONTEXT, (batch,), generator=generator))

    return _task("text", Transformer, draw, _windows(test, torch.arange(0, len(test) - CONTEXT, 4 * CONTEXT)))


def _task(name: str, model: Callable[[], nn.Module], draw: Callable[[torch.Generator], Batch], held_out: Batch) -> Task:
    def seeded(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return model()

    def batches(worker: int, seed: int) -> Iterator[Batch]:
        # Hashed, since neighbouring numbers would give related streams.
        mixed = np.random.SeedSequence([seed, worker]).generate_state(1)
        generator = torch.Generator().manual_seed(int(mixed[0]))
        while True:
            yield draw(generator)

    def evaluate(model: nn.Module) -> dict[str, float]:
        inputs, targets = held_out
        with torch.no_grad():
            logits = model(inputs).flatten(0, -2)
        hits = logits.argmax(-1) == targets.flatten()
        return {"loss": float(cross_entropy(logits, targets.flatten())), "accuracy": float(hits.float().mean())}

    return Task(name, seeded, _loss, batches, evaluate)


def _loss(model: nn.Module, batch: Batch) -> Tensor:
    inputs, targets = batch
    return cross_entropy(model(inputs).flatten(0, -2), targets.flatten())


def _digits() -> Batch:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise ModuleNotFoundError("The digits come with scikit-learn: pip install 'stablestep[examples]'") from None
    found = load_digits()
    # Pixels are 0 to 16; centred, so that the first layer sees both signs.
    return torch.from_numpy(found.images / 8 - 1).float().unsqueeze(1), torch.from_numpy(found.target).long()


def _convolutional() -> nn.Module:
    # GELU and averages, unlike ReLU and maxima, have the second derivatives that Hessian-vector products need.
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.GELU(),
        nn.Linear(64, 10),
    )


def _source(modules: str) -> Tensor:
    folder = Path(sysconfig.get_path("stdlib"))
    files = [folder / f"{module}.py" for module in modules.split()]
    return torch.tensor(list(b"".join(file.read_bytes() for file in files)), dtype=torch.uint8)


def _windows(source: Tensor, starts: Tensor) -> Batch:
    windows = source[starts[:, None] + torch.arange(CONTEXT + 1)].long()
    return windows[:, :-1], windows[:, 1:]


class Transformer(nn.Module):
    """Logits [B, T, 256] of the next byte, from bytes [B, T]."""

    def __init__(self, layers: int = 2):
        super().__init__()
        self.byte, self.place = nn.Embedding(BYTES, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, BYTES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.byte(x) + self.place.weight[: x.shape[-1]]
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


class Layer(nn.Module):
    """Causal attention, then two linear maps, each added to what comes in."""

    def __init__(self):
        super().__init__()
        self.before_attention, self.before_mixing = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attend, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mix = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before_attention(x))
        return x + self.mix(self.before_mixing(x))

    def attention(self, x: Tensor) -> Tensor:
        """By hand, since the fused kernels have no second derivatives."""
        heads = self.attend(x).unflatten(-1, (3, HEADS, WIDTH // HEADS))
        query, key, value = heads.transpose(-4, -2).unbind(-3)
        scores = query @ key.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        weights = scores.masked_fill(later, float("-inf")).softmax(-1)
        return self.project((weights @ value).transpose(-3, -2).flatten(-2))
