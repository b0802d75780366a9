"""A kind of model that the calibration has not seen, in torch: a recurrent net on text, probed and swept.

python -m benchmarks.edges.external [--out FOLDER]
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import stablestep.torch as sst
from benchmarks.edges import data
from benchmarks.edges.cell import Cell
from benchmarks.edges.store import Record, Store
from benchmarks.edges.sweep import sweep
from benchmarks.edges.truth import Truth
from benchmarks.hostile.optimizers import muon
from stablestep.torch.exchange.settings import Settings
from stablestep.torch.probe.ramp import Ramp, first_step, rate
from stablestep.torch.probe.trainer import Trainer
from stablestep.torch.survey.landscape import Landscape
from stablestep.torch.survey.workers import Workers

FOLDER = Path(__file__).parents[2] / "tests" / "torch" / "recorded"
WINDOW, BATCH, WIDTH, POOL = 16, 8, 32, 256
RAMPS, EARLIER = 6, (0.0, 5.0)
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=1.0),
    "momentum": lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9),
    "adam": torch.optim.AdamW,
    "muon": lambda p: muon(p, 1.0),
}
CELLS = (
    Cell("recurrent", "sgd", "own", 0, 4, 100),
    Cell("recurrent", "sgd", "own", 19, 4, 100),
    Cell("recurrent", "momentum", "shared", 19, 4, 100),
    Cell("recurrent", "adam", "topk5", 0, 4, 100),
    Cell("recurrent", "muon", "own", 19, 4, 100),
)


class Recurrent(nn.Module):
    """Logits of the next letter [B, T, letters], from letters [B, T]."""

    def __init__(self):
        super().__init__()
        self.embed, self.net = nn.Embedding(data.LETTERS, 16), nn.GRU(16, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, data.LETTERS)

    def forward(self, x):
        return self.head(self.net(self.embed(x))[0])


def loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """The mean over letters."""
    return nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())


def training() -> tuple[nn.Module, list[torch.Tensor]]:
    """The model and its batches."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Recurrent()
    text, generator = torch.from_numpy(data.text().astype(np.int64)), torch.Generator().manual_seed(1)
    starts = torch.randint(len(text) - WINDOW - 1, (POOL, BATCH, 1), generator=generator)
    return model, list(text[starts + torch.arange(WINDOW + 1)])


class Members:
    """Runs for `sweep`, one after the other."""

    def __init__(self, cell: Cell, count: int):
        self.cell, self.count, self.runs = cell, count, 0
        model, batches = training()
        settings = Settings(cell.compressor, mask="shared" if cell.message == "shared" else "own", seed=5)
        workers = Workers(Landscape(model, loss, batches, POOL), settings, cell.agents)
        self.trainer = Trainer(workers, OPTIMIZERS[cell.optimizer], cell.horizon)

    def run(self, steps: np.ndarray, seed: int, length: int) -> np.ndarray:
        """Losses [count, length]."""
        return np.array([self._run(float(step), length) for step in steps])

    def _run(self, step: float, length: int) -> np.ndarray:
        self.runs += 1
        losses = np.full(length, np.inf)
        for number, value in zip(range(length), self.trainer.losses(lambda t: step, 100 + self.runs)):
            losses[number] = value
        return losses

    def ramp(self, start: float, number: int) -> np.ndarray:
        """Losses until it is over."""
        pace = rate(self.cell.horizon)
        steps = self.trainer.losses(lambda t: float(np.exp(start + pace * t)), number)
        return np.array(Ramp.of(steps, self.cell.horizon, start).losses)


def measure(cell: Cell, count: int = 16) -> Record:
    """Probe, then ramps and a sweep."""
    torch.set_num_threads(1)
    model, batches = training()
    mask, marks = "shared" if cell.message == "shared" else "own", [time.process_time()]
    optimizer = OPTIMIZERS[cell.optimizer]
    advice = sst.probe(model, loss, batches, cell.agents, cell.compressor, optimizer, cell.horizon, mask=mask)
    marks.append(time.process_time())
    members = Members(cell, count)
    scale, noise = members.trainer.scale(), members.trainer.noise
    earlier = np.random.default_rng(0).uniform(*EARLIER, RAMPS) * np.log(2)
    starts = np.log(first_step(cell.family, scale, noise)) - earlier
    ramps = [members.ramp(start, number) for number, start in enumerate(starts)]
    marks.append(time.process_time())
    runs = sweep(members, scale)
    marks.append(time.process_time())
    seconds = dict(zip(("probe", "ramps", "sweep"), np.diff(marks).tolist()))
    useful = advice.useful
    assert useful is not None and advice.step is not None
    steps = {"useful": useful.step, "low": useful.low, "high": useful.high, "step": advice.step}
    points = {name: float(np.log(step)) for name, step in steps.items()} | {"cost": float(advice.cost)}
    longest = max(len(one) for one in ramps)
    padded = np.array([np.pad(one, (0, longest - len(one)), constant_values=np.nan) for one in ramps])
    return Record(cell, scale, noise, members.trainer.first, seconds, points, runs, starts, padded, np.zeros((0, 0)))


def words(record: Record) -> str:
    """What the probe of that day said, against the sweep."""
    truth, said = Truth(record), record.points
    edge = truth.places["useful"][0]
    off, held = np.exp(abs(said["useful"] - edge)), said["low"] <= edge <= said["high"]
    share = record.seconds["probe"] / record.seconds["sweep"]
    return (
        f"{record.cell.name}: off {off:.2f}, {'in' if held else 'outside'} its interval, regret {truth.regret(said['step']):.3f}, "
        f"{said['cost'] / record.cell.horizon:.2f} T, {share:.2f} of the sweep's seconds"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the records go, and are not made again")
    store = Store(parser.parse_args().out)
    for cell in CELLS:
        if cell not in store:
            store.write(measure(cell))
        print(words(store.read(store.path(cell))), flush=True)


if __name__ == "__main__":
    main()
