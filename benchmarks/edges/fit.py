"""Lines from a ramp's features to edges, and the table that the probe ships with."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.edges.truth import Truth
from stablestep.torch.probe.calibration import EDGES, FAMILIES, Line, Row
from stablestep.torch.probe.ramp import NAMES, first_step

RIDGE = 30.0  # as many ramps count as the wish for small weights
FEWEST = 3  # tasks that a family needs


def members(truths: Iterable[Truth], family: str) -> list[Truth]:
    """Of one family; "other" are all, for optimizers that nobody tried."""
    return [truth for truth in truths if truth.complete and family in (truth.cell.family, "other")]


def line(truths: Sequence[Truth], name: str, residuals: np.ndarray | None = None) -> Line:
    """Fitted to all ramps of these cells; `residuals` are those on tasks that a fit without them had not seen."""
    features, targets = _rows(truths, name)
    centre, scale = features.mean(0), np.maximum(features.std(0), 1e-3)
    scaled = np.clip((features - centre) / scale, -4, 4)
    mean = float(targets.mean())
    square = scaled.T @ scaled + RIDGE * np.eye(len(NAMES))
    weights = np.linalg.solve(square, scaled.T @ (targets - mean))
    left = targets - mean - scaled @ weights if residuals is None else residuals
    spread, far = float(np.std(left)), float(np.quantile(np.abs(left), 0.95))
    return Line(tuple(centre.tolist()), tuple(scale.tolist()), tuple(weights.tolist()), mean, spread, far)


def _rows(truths: Sequence[Truth], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of every ramp that found a step too large."""
    targets = [truth.places[name][0] - truth.seen[1] for truth in truths]
    return np.concatenate([truth.seen[0] for truth in truths]), np.concatenate(targets)


def held_out(truths: Sequence[Truth], name: str) -> np.ndarray:
    """Errors of lines that had not seen the task, ramp by ramp."""
    errors = []
    for task in sorted({truth.cell.task for truth in truths}):
        fitted = line([truth for truth in truths if truth.cell.task != task], name)
        features, targets = _rows([truth for truth in truths if truth.cell.task == task], name)
        errors += [target - fitted(one) for one, target in zip(features, targets)]
    return np.array(errors)


def known(truths: Sequence[Truth], name: str) -> tuple[float, float, float, float]:
    """log of an edge over the best step without compression, as a line in log(1 + s): offset, weight, spread at s = 0, and its growth.

    Spreads are those on tasks that were left out.
    """
    best = {key(truth): truth.places["best"][0] for truth in truths if bare(truth)}
    rows = [
        (truth.cell.task, np.log1p(truth.record.noise), truth.places[name][0] - best[key(truth)])
        for truth in truths
        if key(truth) in best and truth.cell.message in ("own", "shared")
    ]
    tasks, strength, ratio = (np.array(side) for side in zip(*rows))
    left = np.zeros(len(ratio))
    for task in set(tasks):
        offset, weight = _line_in(strength[tasks != task], ratio[tasks != task])
        left[tasks == task] = (ratio - offset - weight * strength)[tasks == task]
    offset, weight = _line_in(strength, ratio)
    none = strength == 0
    spread = float(np.std(left[none]))
    extra = np.maximum(left[~none] ** 2 - spread**2, 0) / strength[~none] ** 2
    return offset, weight, spread, float(np.sqrt(extra.mean())) if len(extra) else 0.0


def _line_in(strength: np.ndarray, ratio: np.ndarray) -> tuple[float, float]:
    """Offset and weight."""
    design = np.stack([np.ones_like(strength), strength], 1)
    (offset, weight), *_ = np.linalg.lstsq(design, ratio, rcond=None)
    return float(offset), float(weight)


def bare(truth: Truth) -> bool:
    """Whether nothing is compressed."""
    return truth.cell.message == "own" and truth.cell.omega == 0


def key(truth: Truth) -> tuple:
    """What a cell has in common with its uncompressed one."""
    return truth.cell.task, truth.cell.optimizer, truth.cell.agents, truth.cell.horizon


def row(truths: Sequence[Truth], widths: Any) -> Row:
    """Of a family, from its members; the spreads of its lines are those on tasks that were left out."""
    lines = {name: line(truths, name, held_out(truths, name)) for name in EDGES}
    spikes = [run.blown for truth in truths for run in truth.record.runs.read if run.spiked]
    starts = [
        truth.record.starts.mean() - np.log(first_step(truth.cell.family, truth.record.scale, truth.record.noise))
        for truth in truths
    ]
    return Row(
        lines, widths, {name: known(truths, name) for name in EDGES}, float(np.mean(spikes)), float(np.mean(starts))
    )


def families(truths: Sequence[Truth]) -> list[str]:
    """Those that enough tasks were measured for."""
    return [family for family in FAMILIES if len({truth.cell.task for truth in members(truths, family)}) >= FEWEST]
