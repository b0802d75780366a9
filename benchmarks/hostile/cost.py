"""What the governor adds to a step of a model of 5 million parameters."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

import stablestep.torch as sst
from benchmarks.hostile.run import Local

WIDTH, LAYERS, BATCHES, LENGTH = 256, 6, (4, 16), 128
REPEATS = 15


class Language(nn.Module):
    """A transformer that says the next byte."""

    def __init__(self):
        super().__init__()
        layers = [
            nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, batch_first=True, dropout=0.0, norm_first=True)
            for _ in range(LAYERS)
        ]
        self.stack = nn.Sequential(nn.Embedding(256, WIDTH), *layers, nn.Linear(WIDTH, 256))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return self.stack(codes)


class Trained:
    """One worker's training, and the parts of its step."""

    def __init__(self, rule: sst.rule.Rule):
        torch.manual_seed(0)
        self.model, self.state = Language(), Local()
        inner = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.stable = sst.StableStep(inner, self.state, rule)
        self.look(1)

    def look(self, batch: int) -> None:
        """Forward and backward."""
        codes = torch.randint(256, (batch, LENGTH + 1))
        self.stable.zero_grad()
        self.loss = nn.functional.cross_entropy(self.model(codes[:, :-1]).flatten(0, 1), codes[:, 1:].flatten())
        self.loss.backward()

    def step(self) -> None:
        """The optimizer's, with the rule."""
        self.state.bring(torch.ones(1), self.loss.detach()[None])
        self.stable.step()


def measured() -> dict[str, Any]:
    """Seconds of the processor, the least of several: what else runs on the machine does not count."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    plain, governed = Trained(sst.rule.Constant()), Trained(sst.rule.Governor())
    looks = {batch: _least(partial(plain.look, batch), 4) for batch in BATCHES}
    step, with_governor = _least(plain.step, REPEATS), _least(governed.step, REPEATS)
    torch.set_num_threads(threads)
    size, extra = sum(parameter.numel() for parameter in plain.model.parameters()), with_governor - step
    shares = {batch: 100 * extra / (look + step) for batch, look in looks.items()}
    said = " and ".join(f"{share:.1f} % of one on {batch} · {LENGTH} bytes" for batch, share in shares.items())
    return {
        "milliseconds": {f"forward and backward, {batch} · {LENGTH} bytes": look for batch, look in looks.items()}
        | {"AdamW": step, "AdamW with the governor": with_governor},
        "percent": list(shares.values()),
        "words": f"A transformer of {size / 1e6:.1f} million parameters: the governor adds {extra:.1f} ms to a step, which is {said}. "
        "It reads and writes memory: the message, the parameters before and after, and the last update, each once or twice. "
        f"It keeps {2 * size * 4 / 1e6:.0f} MB, two copies of the parameters (`copy=False`: one).",
    }


def _least(action: Callable[[], None], times: int) -> float:
    return 1000 * min(_seconds(action) for _ in range(times))


def _seconds(action: Callable[[], None]) -> float:
    begun = time.thread_time()
    action()
    return time.thread_time() - begun
