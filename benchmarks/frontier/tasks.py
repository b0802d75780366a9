"""Three things to learn from data that every Python has: no downloads.

Each task's examples are split in three: training, "tuning" (rates are chosen on it) and "scoring" (nothing else sees it).
"""

import sysconfig
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.frontier.models import Reader, Transformer, convolutional, seeded

Batch = tuple[Tensor, Tensor]
NOISE = 0.35  # of the range of a pixel
LETTERS, CONTEXT = 128, 32
LINE = 48


@dataclass(frozen=True)
class Task:
    """Something to learn.

    Args:
        steps: T, what the uncompressed AdamW gets.
        model: with random start.
        draw: a batch of training examples, made with a generator.
        held_out: examples for "tuning", "scoring".
    """

    name: str
    title: str
    steps: int
    model: Callable[[], nn.Module]
    draw: Callable[[torch.Generator], Batch]
    held_out: dict[str, Batch]

    def start(self, seed: int) -> nn.Module:
        """The model of a run."""
        return seeded(self.model, seed)

    def batches(self, worker: int, seed: int) -> Iterator[Batch]:
        """Endless; those of two workers or seeds are independent."""
        # Hashed, since neighbouring numbers would give related streams.
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, worker]).generate_state(1)[0]))
        while True:
            yield self.draw(generator)


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """Mean over the batch."""
    inputs, targets = batch
    return cross_entropy(model(inputs).flatten(0, -2), targets.flatten())


def digits(batch: int = 32) -> Task:
    """Images of 8×8 pixels under noise, in ten classes."""
    images, labels = _digits()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, tuning, scoring = order[:1100], order[1100:1397], order[1397:]

    def noisy(chosen: Tensor, generator: torch.Generator) -> Batch:
        noise = torch.randn(len(chosen), *images.shape[1:], generator=generator)
        return images[chosen] + 2 * NOISE * noise, labels[chosen]

    def draw(generator: torch.Generator) -> Batch:
        return noisy(train[torch.randint(len(train), (batch,), generator=generator)], generator)

    def fixed(chosen: Tensor, seed: int) -> Batch:
        return noisy(chosen.repeat(4), torch.Generator().manual_seed(seed))

    held_out = {"tuning": fixed(tuning, 1), "scoring": fixed(scoring, 2)}
    return Task("digits", "noisy digits, conv net", 480, partial(convolutional, 10), draw, held_out)


def _digits() -> Batch:
    from sklearn.datasets import load_digits

    found = load_digits()
    # Pixels are 0 to 16; centred, so that the first layer sees both signs.
    return torch.from_numpy(found.images / 8 - 1).float().unsqueeze(1), torch.from_numpy(found.target).long()


def text(batch: int = 8) -> Task:
    """The next letter of Python's standard library."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    train = _letters(file for place, file in enumerate(files) if place % 8 > 1)
    spans = {"tuning": _letters(files[0::8]), "scoring": _letters(files[1::8])}

    def draw(generator: torch.Generator) -> Batch:
        return _windows(train, torch.randint(len(train) - CONTEXT, (batch,), generator=generator))

    held_out = {name: _windows(span, _spread(len(span) - CONTEXT - 1, 256)) for name, span in spans.items()}
    return Task("text", "standard library, transformer", 480, partial(Transformer, LETTERS, CONTEXT), draw, held_out)


def _letters(files) -> Tensor:
    """All of them as one line of ASCII."""
    return torch.tensor(list(b"".join(file.read_bytes() for file in files)), dtype=torch.uint8).clamp(max=LETTERS - 1)


def _windows(line: Tensor, starts: Tensor) -> Batch:
    windows = line[starts[:, None] + torch.arange(CONTEXT + 1)].long()
    return windows[:, :-1], windows[:, 1:]


def _spread(most: int, count: int) -> Tensor:
    return torch.linspace(0, most, count).long()


def names(batch: int = 32) -> Task:
    """The general category of a character of Unicode, from its name."""
    lines, labels, classes = _names()
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(0))
    tuning, scoring, train = order[:2048], order[2048:4096], order[4096:]

    def draw(generator: torch.Generator) -> Batch:
        chosen = train[torch.randint(len(train), (batch,), generator=generator)]
        return lines[chosen], labels[chosen]

    held_out = {"tuning": (lines[tuning], labels[tuning]), "scoring": (lines[scoring], labels[scoring])}
    return Task("names", "names of characters, byte CNN", 640, partial(Reader, LETTERS, classes), draw, held_out)


def _names() -> tuple[Tensor, Tensor, int]:
    """Without those made of the character's number, such as CJK UNIFIED IDEOGRAPH-4E00."""
    named = ((chr(point), f"{point:04X}") for point in range(0x110000))
    kept = [(char, name) for char, number in named if (name := unicodedata.name(char, number)) and number not in name]
    lines = np.array([list(name.encode()[:LINE].ljust(LINE)) for _, name in kept])
    classes, labels = np.unique([unicodedata.category(char) for char, _ in kept], return_inverse=True)
    return torch.from_numpy(lines).long(), torch.from_numpy(labels).long(), len(classes)


TASKS: dict[str, Callable[[], Task]] = {"digits": digits, "text": text, "names": names}


@cache
def task(name: str) -> Task:
    """Made once in each process."""
    return TASKS[name]()
