"""What predictors say that look at a point instead of a run: at the start and after a short gentle descent, the smaller of both."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.edges.optimizers import BETA
from benchmarks.edges.tasks import task
from benchmarks.edges.training import Training, empty, exchange
from stablestep.theorem import Constants, result

BATCHES, ITERATIONS, DESCENT = 32, 30, 40
REACH = 16.0  # octaves on both sides of the scale where a step is looked for that no longer lowers the loss
HEAVY = {"sgd": 1.0, "momentum": 1 + BETA}  # by how much the edge of a parabola grows


@dataclass
class Point:
    """A point of a training, and what can be measured there."""

    training: Training
    x: jax.Array
    scale: float

    @property
    def agents(self) -> int:
        return self.training.cell.agents

    @cached_property
    def curvature(self) -> float:
        """‖∇²f‖."""
        return float(_top(self.training.cell.task, self.x))

    @cached_property
    def singles(self) -> tuple[np.ndarray, np.ndarray]:
        """Gradients of single batches [BATCHES, d], and the curvature of each batch along its own."""
        gradients, bent = _singles(self.training.cell.task, self.x)
        return np.asarray(gradients), np.asarray(bent)

    @cached_property
    def messages(self) -> Any:
        """Mean messages [BATCHES, d]."""
        keys = jax.random.split(jax.random.key(12), BATCHES)
        cell = self.training.cell
        plan = cell.task, cell.agents, cell.message == "shared", self.training.pieces
        return _drawn(plan, self.training.compressor, self.x, keys)

    def bent(self, directions: Any) -> np.ndarray:
        """vᵀ∇²f v of each."""
        return np.asarray(_bent(self.training.cell.task, self.x, directions))


def loss_model(point: Point) -> float:
    """2 E⟨∇f, M⟩/E MᵀHM."""
    mean = point.singles[0].mean(0)
    return 2 * float((np.asarray(point.messages) @ mean).mean()) / float(point.bent(point.messages).mean())


def sharpness(point: Point) -> float:
    """2/‖∇²f‖."""
    return 2 / point.curvature


def batch_sharpness(point: Point) -> float:
    """2/E of a batch's curvature along its own gradient."""
    return 2 / float(point.singles[1].mean())


def theorem(point: Point) -> float:
    """The limit of Theorem 4.2 (ε → 1) with the curvature and the noise found here."""
    cell, singles = point.training.cell, point.singles[0]
    variance = float(singles.var(0, ddof=1).mean())
    constants = Constants(
        L0=point.curvature,
        L1=0.0,
        dim=singles.shape[1],
        count=cell.agents,
        omega=float(cell.omega),
        sigma0_sq=variance,
        sigma1_sq=0.0,
        shared_mask=cell.message == "shared",
    )
    return 2 * result("4.2").step_limit(constants, float(np.linalg.norm(singles.mean(0))), 0.5)


def critical(point: Point) -> float:
    """The largest step along the optimizer's first update that does not raise the loss: the median over messages."""
    update = point.training.optimizer
    x = point.x
    moved = jax.vmap(lambda message: x - update.update(x, message, update.begin(x), 0, 1.0)[0])(point.messages[:8])
    steps = point.scale * 2.0 ** np.arange(-REACH, REACH, 0.25)
    ups = np.asarray(_along(point.training.cell.task, x, moved, jnp.asarray(steps, jnp.float32)))
    return float(np.median([steps[np.argmax(up)] if up.any() else steps[-1] for up in ups]))


POINTS: dict[str, tuple[Callable[[Point], float], Callable[[Any], float | None]]] = {
    "loss model": (
        loss_model,
        lambda cell: HEAVY.get(cell.optimizer) if cell.message in ("own", "shared", "qsgd") else None,
    ),
    "2/λmax": (sharpness, lambda cell: HEAVY.get(cell.optimizer)),
    "2/batch sharpness": (batch_sharpness, lambda cell: HEAVY.get(cell.optimizer)),
    "theorem": (theorem, lambda cell: 1.0 if cell.optimizer == "sgd" and cell.message in ("own", "shared") else None),
    "critical sharpness": (critical, lambda cell: 1.0 if cell.message not in ("topk5", "topk1") else None),
}


def points(training: Training, scale: float) -> dict[str, float]:
    """log h of every predictor that has an answer."""
    start = Point(training, training.task.start, scale)
    below = _descended(training.cell.task, training.task.start, 0.5 / start.curvature)
    places = [start]
    if bool(jnp.isfinite(below).all()):
        places.append(Point(training, below, scale))
    found = {}
    for name, (predict, factor) in POINTS.items():
        times = factor(training.cell)
        if times is None:
            continue
        steps = [step for step in (predict(place) for place in places) if step > 0 and math.isfinite(step)]
        if steps:
            found[name] = math.log(times * min(steps))
    return found


def _mean_loss(name, seed: int = 11):
    chosen = task(name)
    batches = jax.vmap(chosen.draw)(jax.random.split(jax.random.key(seed), BATCHES))
    return lambda x: jax.vmap(lambda batch: chosen.loss(x, batch))(batches).mean()


def _product(loss, x, v):
    return jax.jvp(jax.grad(loss), (x,), (v,))[1]


@eqx.filter_jit
def _top(name, x):
    loss = _mean_loss(name)

    def body(_, v):
        return _product(loss, x, v / jnp.linalg.norm(v))

    return jnp.linalg.norm(jax.lax.fori_loop(0, ITERATIONS, body, jax.random.normal(jax.random.key(3), x.shape)))


@eqx.filter_jit
def _singles(name, x):
    chosen = task(name)

    def one(key):
        batch = chosen.draw(key)
        gradient = jax.grad(chosen.loss)(x, batch)
        bent = _product(lambda x: chosen.loss(x, batch), x, gradient)
        return gradient, gradient @ bent / jnp.maximum(gradient @ gradient, 1e-30)

    return jax.vmap(one)(jax.random.split(jax.random.key(13), BATCHES))


@eqx.filter_jit
def _bent(name, x, directions):
    loss = _mean_loss(name)
    return jax.lax.map(lambda v: v @ _product(loss, x, v), directions)


@eqx.filter_jit
def _along(name, x, moved, steps):
    loss = _mean_loss(name)
    first = loss(x)
    return jax.lax.map(lambda u: jax.vmap(lambda step: ~(loss(x - step * u) <= first))(steps), moved)


@eqx.filter_jit
def _descended(name, x, step):
    chosen = task(name)

    def body(t, x):
        return x - step * jax.grad(chosen.loss)(x, chosen.draw(jax.random.fold_in(jax.random.key(14), t)))

    return jax.lax.fori_loop(0, DESCENT, body, x)


@eqx.filter_jit
def _drawn(plan, compressor, x, keys):
    name, agents, shared, pieces = plan
    memory = empty(compressor, pieces, agents)

    def one(key):
        return exchange(task(name), compressor, pieces, agents, shared, key, x, memory)[0].mean(0)

    return jax.vmap(one)(keys)
