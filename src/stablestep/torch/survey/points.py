"""What the landscape and the noise are like at points of a short descent, and where a step that is too large would land."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float

from stablestep.stability.start_point import CriticalStep
from stablestep.torch.survey.predictors import length, loss_model
from stablestep.torch.survey.workers import Workers
from stablestep.torch.wire.codec import squared_norm

Tensor = torch.Tensor
_BENT, _WALK, _MASK = range(1, 4)  # names of randomness
BETWEEN = 4  # steps from one point to the next
OVERSHOT = (2.0, 4.0, 8.0)  # steps from the first point in units of 1/‖∇²f‖: past 2 the loss rises
FIRST, LATER = 12, 5  # power iterations; later points begin with the last vector
COORDINATES = 2048
ERRORS = 8


@dataclass(frozen=True)
class Point:
    """Measures at one point.

    Attributes:
        loss: the mean over all batches.
        gradient_sq: ‖∇f‖² without the noise's share.
        variance: of one coordinate of one worker's gradient.
        mean_norm: of single gradients (Ĝ).
        curvature: ‖∇²f‖.
        along: the curvature along ∇f.
        error: ‖C(g) − g‖²/‖g‖² of one worker's message.
        model: on the descent, the step of the loss model.
    """

    loss: float
    gradient_sq: float
    variance: float
    mean_norm: float
    curvature: float
    along: float
    error: float
    model: CriticalStep | None

    @property
    def step(self) -> float | None:
        """The loss model's step on the descent; None where the gradient cannot be told from noise."""
        return self.model.step if self.model is not None and self.model.step > 0 else None

    @property
    def descent(self) -> bool:
        """Whether it is on the descent, not past a step that is too large."""
        return self.model is not None

    @property
    def gradient_norm(self) -> float:
        """‖∇f‖."""
        return math.sqrt(self.gradient_sq)


@dataclass(frozen=True)
class Survey:
    """What was seen.

    Attributes:
        points: the first one is the start.
        samples: single gradients at the start, at some coordinates [n, J].
        tightest: where on the descent the loss model allows the smallest step.
    """

    points: list[Point]
    samples: Float[np.ndarray, "n J"]
    tightest: Tensor


def look_around(workers: Workers, count: int) -> Survey:
    """`count` points: a descent with the step 1/(2‖∇²f‖), and three places that larger steps from the start lead to."""
    start = workers.landscape.point()
    first = _look(workers, 0, None, FIRST, descent=True)
    overshot = _overshot(workers, start, first)
    workers.landscape.restart(start)
    looks, places, last = [first], [start], first
    for index in range(1, max(3, count - len(OVERSHOT))):
        _descend(workers, index, last.point.curvature)
        last = _look(workers, index, last.vector, LATER, descent=True)
        looks.append(last)
        places.append(workers.landscape.point())
    workers.landscape.restart(start)
    steps = [look.point.step or math.inf for look in looks]
    points = [look.point for look in looks] + overshot
    return Survey(points, first.samples, places[int(np.argmin(steps))])


@dataclass(frozen=True)
class _Look:
    """A point, the mean gradient, the top eigenvector, and single gradients at some coordinates."""

    point: Point
    mean: Tensor
    vector: Tensor
    samples: Float[np.ndarray, "n J"]


def _overshot(workers: Workers, start: Tensor, first: _Look) -> list[Point]:
    found = []
    for number, reach in enumerate(OVERSHOT if first.point.curvature > 0 else ()):
        workers.landscape.step(start, reach / first.point.curvature, first.mean)
        point = _look(workers, 1000 + number, first.vector, LATER, descent=False).point
        if math.isfinite(point.loss) and math.isfinite(point.variance) and math.isfinite(point.curvature):
            found.append(point)
    return found


def _look(workers: Workers, index: int, vector: Tensor | None, iterations: int, descent: bool) -> _Look:
    seen, count = _Singles(workers, index), len(workers.landscape.pool)
    mean, square = (seen.total / count).to(seen.like), float((seen.total / count).square().sum())
    spread = max(0.0, (sum(norm**2 for norm in seen.norms) - count * square) / (count - 1))
    curvature, along, vector = _curvature(workers, index, mean, vector, iterations)
    gradient_sq = max(0.0, square - spread / count)
    point = Point(
        loss=float(np.mean(seen.losses)),
        gradient_sq=gradient_sq,
        variance=spread / workers.landscape.dim,
        mean_norm=float(np.mean(seen.norms)),
        curvature=curvature,
        along=along,
        error=float(np.mean(seen.errors)),
        model=loss_model(workers, index, mean, gradient_sq if workers.unbiased else None) if descent else None,
    )
    return _Look(point, mean, vector, np.stack(seen.samples))


class _Singles:
    """The gradients of all batches at one point: their sum, and what is kept of each."""

    def __init__(self, workers: Workers, index: int):
        landscape = workers.landscape
        chosen, self.like = _coordinates(landscape.dim), landscape.point()
        self.total = torch.zeros(landscape.dim, dtype=torch.float64)
        self.losses, self.norms, self.errors, self.samples = [], [], [], []
        for number, batch in enumerate(landscape.pool):
            loss, gradient = landscape.gradient(batch)
            self.total += gradient.double().cpu()
            self.norms.append(math.sqrt(float(squared_norm(gradient))))
            self.losses.append(loss)
            self.samples.append(gradient[chosen].double().cpu().numpy())
            if number < ERRORS:
                self.errors.append(workers.error(gradient, _MASK, index, number))


@lru_cache(maxsize=1)
def _coordinates(dim: int) -> Tensor:
    """The same at every point; a copy, so that the other indices are not kept."""
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(dim, generator=generator)[:COORDINATES].clone()


def _curvature(
    workers: Workers, index: int, mean: Tensor, vector: Tensor | None, iterations: int
) -> tuple[float, float, Tensor]:
    """‖∇²f‖ by power iteration, uᵀ∇²f u along the gradient, and the vector, on a few batches of the pool."""
    batches = [workers.batch(_BENT, index, number) for number in range(4)]
    direction = mean / max(length(mean), torch.finfo(mean.dtype).tiny)
    # From a vector that is no eigenvector of a symmetric model, such as one between equal units.
    tilt = torch.randn(workers.landscape.dim, generator=torch.Generator().manual_seed(index)).to(mean)
    vector = (direction if vector is None else vector) + 0.1 * tilt / tilt.norm()
    size = 0.0
    for _ in range(iterations):
        bent = workers.landscape.curvature(batches, vector / length(vector))
        size = length(bent)
        if size == 0 or not math.isfinite(size):
            break
        vector = bent
    return size, float(direction @ workers.landscape.curvature(batches, direction)), vector / length(vector)


def _descend(workers: Workers, index: int, curvature: float) -> None:
    x = workers.landscape.point()
    for step in range(BETWEEN if curvature > 0 else 0):
        _, gradients = workers.gradients(_WALK, index, step)
        x = workers.landscape.step(x, 1.0, torch.stack(gradients).mean(0) / (2 * curvature))
