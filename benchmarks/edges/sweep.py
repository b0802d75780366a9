"""A cell's edges and best step by a sweep of ordinary runs: coarse, then closer and closer to what is asked for."""

from dataclasses import dataclass, field

import numpy as np

from benchmarks.edges.training import Training
from stablestep.stability.ladder import posterior
from stablestep.torch.probe.reading import Run

OCTAVES, MOVES = 8.0, 3  # of the first window on both sides, and how often it may move
BIN = 0.15
LOWEST = -4.0  # of the window's centre in octaves from the scale


@dataclass
class Runs:
    """Ordinary runs: logarithms of their steps, and their relative losses."""

    horizon: int
    logs: list[float] = field(default_factory=list)
    losses: list[np.ndarray] = field(default_factory=list)
    read: list[Run] = field(default_factory=list)

    def add(self, logs: np.ndarray, losses: np.ndarray) -> None:
        """More of them."""
        self.logs += logs.tolist()
        self.losses += list(losses.astype(np.float32))
        self.read += [Run.of(one, self.horizon) for one in losses]

    @property
    def tails(self) -> np.ndarray:
        """Mean losses of the last fifths."""
        return np.array([run.tail for run in self.read])

    def best(self) -> tuple[float, float, float]:
        """log h of the lowest tail, its standard error, and that tail: of a parabola through log tails around the lowest."""
        logs, values = np.array(self.logs), np.log(np.clip(self.tails, 1e-6, 2.0))
        centre = _lowest(logs, values)
        near = np.flatnonzero(np.abs(logs - centre) < 1.0)
        generator = np.random.default_rng(0)
        chosen = (generator.choice(near, len(near)) for _ in range(50))
        again = [_vertex(logs[some], values[some], centre) for some in chosen]
        found = _vertex(logs[near], values[near], centre)
        # The best may stand beside the edge, where some runs are lost.
        around = (np.abs(logs - found) < 0.35) & (values < values.min() + 0.7)
        level = values[around] if around.any() else values[near]
        return found, float(np.std(again)), float(np.exp(np.median(level)))

    def useful(self) -> np.ndarray:
        """Which of them are above the useful edge."""
        best = self.best()[2]
        return np.array([run.too_hot(best) for run in self.read])

    def blown(self) -> np.ndarray:
        """Which of them are above the edge at which runs blow up."""
        return np.array([run.blown for run in self.read])


def _lowest(logs: np.ndarray, values: np.ndarray) -> float:
    """Where the mean of runs with nearly the same step is lowest, over three neighbours."""
    bins = np.round(logs / BIN).astype(int)
    places = np.unique(bins)
    means = np.array([values[bins == place].mean() for place in places])
    padded = np.pad(means, 1, mode="edge")
    smooth = np.maximum(means, (padded[:-2] + padded[1:-1] + padded[2:]) / 3)
    return float(places[int(np.argmin(smooth))] * BIN)


def _vertex(logs: np.ndarray, values: np.ndarray, centre: float) -> float:
    """Where a parabola is lowest, near `centre`; there, where it opens downwards or has too few points."""
    # Tails far above the lowest lie on another curve.
    kept = values < values.min() + 0.7
    if kept.sum() < 6 or len(np.unique(logs[kept])) < 4:
        return centre
    a, b, _ = np.polyfit(logs[kept] - centre, values[kept], 2)
    return centre if a <= 1e-3 else float(np.clip(centre - b / (2 * a), centre - 0.6, centre + 0.6))


def sweep(training: Training, scale: float) -> Runs:
    """All runs of a cell; `scale` is where to begin to look."""
    runs, count = Runs(training.cell.horizon), training.count
    centre = np.log(scale) + LOWEST * np.log(2)
    for _move in range(MOVES):
        _train(training, runs, np.linspace(-OCTAVES, OCTAVES, count) * np.log(2) + centre)
        ups = runs.blown()
        if ups.any() and not ups.all():
            break
        centre += (-1 if ups.all() else 1) * 2 * OCTAVES * np.log(2)
    _train(training, runs, _grid(runs.best()[0], 1.0, count, 4))
    for reach in (0.9, 0.5):
        _train(training, runs, _grid(_centre(runs, runs.useful()), reach, count, 2))
    _train(training, runs, _grid(_centre(runs, runs.blown()), 0.6, count, 2))
    return runs


def _grid(centre: float, reach: float, count: int, seeds: int) -> np.ndarray:
    return np.repeat(np.linspace(centre - reach, centre + reach, count // seeds), seeds)


def _centre(runs: Runs, ups: np.ndarray) -> float:
    if ups.all() or not ups.any():
        return min(runs.logs) if ups.all() else max(runs.logs)
    return edge(runs, ups).centre


def edge(runs: Runs, ups: np.ndarray):
    """The step at which half of the runs are up, from those near the change: far ones say nothing of its width."""
    logs = np.array(runs.logs)
    order = np.argsort(logs)
    # A first place: where the number of mistakes of a threshold is smallest.
    wrong = np.cumsum(ups[order]) + (~ups).sum() - np.cumsum(~ups[order])
    middle = logs[order][int(np.argmin(wrong))]
    near = np.abs(logs - middle) < 2.5
    return posterior(logs[near], ups[near])


def _train(training: Training, runs: Runs, logs: np.ndarray) -> None:
    runs.add(logs, training.run(np.exp(logs), seed=100 + len(runs.logs), length=runs.horizon))
