"""A cell's ramps, whose starts know nothing of its edge, and the ramps of learning-rate finders."""

import numpy as np

from benchmarks.edges.training import CHUNK, Training
from stablestep.torch.probe.ramp import Ramp, first_step, rate

EARLIER = (0.0, 5.0)  # octaves below the probe's own start, drawn for each ramp
FINDER = (1e-7, 10.0, 100)  # first and last step of a finder's ramp, and its length


def ramps(training: Training, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """log h where each ramp starts [count], and their losses [count, length]; all go on until the last one is over."""
    cell = training.cell
    draws = np.random.default_rng(int.from_bytes(cell.name.encode(), "little") % 2**63)
    earlier = draws.uniform(*EARLIER, training.count) * np.log(2)
    starts = np.log(first_step(cell.family, scale, cell.noise(training.task.sizes))) - earlier
    read = [Ramp(cell.horizon, start) for start in starts]
    state, losses, over = training.begin(seed=7), [], np.zeros(training.count, bool)
    while not over.all():
        times = len(losses) * CHUNK + np.arange(CHUNK)
        state, seen = training.advance(state, np.exp(starts[:, None] + rate(cell.horizon) * times))
        losses.append(seen)
        for member, ramp in enumerate(read):
            over[member] = over[member] or any(ramp.add(loss) for loss in seen[member])
    return starts, np.concatenate(losses, 1)


def finder_steps() -> np.ndarray:
    """Of one ramp."""
    return np.geomspace(*FINDER)


def finders(training: Training) -> np.ndarray:
    """Losses [count, length] of a finder's ramps."""
    low, high, length = FINDER
    return training.run(
        np.full(training.count, low), seed=8, length=length, rate=float(np.log(high / low) / (length - 1))
    )
