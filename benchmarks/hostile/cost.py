"""What the governor adds to a step of a model of 5 million parameters."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import stablestep.torch as sst
from benchmarks.hostile.run import Local

WIDTH, LAYERS, BATCH, LENGTH = 256, 6, 4, 128
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
        self.codes = torch.randint(256, (BATCH, LENGTH + 1))

    def look(self) -> None:
        """Forward and backward."""
        self.stable.zero_grad()
        outputs = self.model(self.codes[:, :-1])
        self.loss = nn.functional.cross_entropy(outputs.flatten(0, 1), self.codes[:, 1:].flatten())
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
    times: dict[str, list[float]] = {"forward and backward": [], "AdamW": [], "AdamW with the governor": []}
    for _ in range(REPEATS):
        times["forward and backward"].append(_seconds(plain.look))
        times["AdamW"].append(_seconds(plain.step))
        governed.look()
        times["AdamW with the governor"].append(_seconds(governed.step))
    torch.set_num_threads(threads)
    least = {name: 1000 * min(each) for name, each in times.items()}
    size = sum(parameter.numel() for parameter in plain.model.parameters())
    extra, whole = least["AdamW with the governor"] - least["AdamW"], least["forward and backward"] + least["AdamW"]
    return {
        "milliseconds": least,
        "percent": 100 * extra / whole,
        "words": f"A transformer of {size / 1e6:.1f} million parameters on {BATCH} · {LENGTH} bytes: the governor adds {extra:.1f} ms, "
        f"{100 * extra / whole:.1f} % of the step. It keeps {2 * size * 4 / 1e6:.0f} MB, two copies of the parameters (`copy=False`: one).",
    }


def _seconds(action: Callable[[], None]) -> float:
    begun = time.thread_time()
    action()
    return time.thread_time() - begun
