"""Many independent paths at once: chunks of runs on every device, recorded at a few times, frozen where they diverge."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from stablestep.problem import Problem
from stablestep.record.start import RUN, STEP
from stablestep.schedule import ENSEMBLE
from stablestep.stream import Stream

_CHUNK = 1 << 17  # coordinates of a chunk: half a MiB in float32, so that a step stays in the cache


class Process(eqx.Module):
    """Something that moves one point by one step."""

    problem: eqx.AbstractVar[Problem]

    @property
    def coupled(self) -> bool:
        """Whether a step uses means over all runs (`schedule.ENSEMBLE`), so that all must be in one call."""
        return False

    @abc.abstractmethod
    def advance(self, stream: Stream, k: Int[Array, ""], x: Float[Array, " d"]) -> Float[Array, " d"]:
        """The point after iteration k, with this iteration's own randomness."""

    def extra(self, x: Float[Array, " d"]) -> dict[str, Array]:
        """What else to record of a point."""
        return {}


@dataclass(frozen=True)
class Paths:
    """What was recorded of each run; a diverged run keeps the first point outside the ball from then on.

    `diverged_at` is the first step whose point is outside the ball or not finite, −1 if there is none.
    """

    loss: Float[np.ndarray, "runs times"]
    gradient_norm: Float[np.ndarray, "runs times"]
    diverged_at: Int[np.ndarray, " runs"] | Float[np.ndarray, " runs"]
    observed: dict[str, np.ndarray]
    final: Float[np.ndarray, "runs d"]


def monte_carlo(
    process: Process,
    points: Float[Array, "runs d"],
    iterations: Int[np.ndarray, " times"],
    seed: int,
    radius: float,
    observe: dict[str, Callable] | None = None,
    progress: Callable[[float], None] | None = None,
    keep_final: bool = False,
) -> Paths:
    """Paths of `process`, whose leaves are arrays (see `cast`), from each of `points`.

    The result depends on the seed and the number of a run only, not on chunks or devices.
    """
    runs, dim = points.shape
    devices = _devices(runs, process.coupled)
    batch = _batch(runs, dim if not process.coupled else 0, len(devices))
    leaves, tree = jax.tree.flatten(process)
    kernel = _kernel(tree, tuple(sorted((observe or {}).items())), devices)
    root, fixed = Stream.seed(seed), (leaves, np.asarray(iterations), np.asarray(radius, points.dtype))
    # In NumPy, because JAX would compile every operation outside the kernel on its own.
    starts, pieces = np.asarray(points), []
    for first in range(0, runs, batch):
        ids = np.arange(first, first + batch, dtype=np.uint32)
        found = kernel(*fixed, root.children(ids, tag=RUN), starts[np.minimum(ids, runs - 1)])
        found = found if keep_final else {**found, "final": np.zeros((batch, 0), points.dtype)}
        pieces.append(_fetch(found, min(batch, runs - first)))
        if progress is not None:
            progress(min(1.0, (first + batch) / runs))
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)
    return Paths(**joined)


def _devices(runs: int, coupled: bool) -> tuple:
    """As many as there are; for coupled runs a number that divides theirs, as a mean would count the runs that fill up the last call."""
    found = jax.local_devices()
    numbers = range(min(len(found), max(1, runs)), 0, -1)
    return tuple(found[: next(number for number in numbers if not coupled or runs % number == 0)])


def _fetch(found, count: int):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], found)


def _batch(runs: int, dim: int, devices: int) -> int:
    """Runs in one call (all for dim 0): every device gets a chunk, and the last call wastes as little as possible."""
    chunk = int(np.clip(_CHUNK // dim, 4, 4096)) if dim else runs
    calls = -(-runs // (chunk * devices))
    return -(-runs // (calls * devices)) * devices


# jaxlib 0.10.2 compiles arctan to wrong numbers at this vector width; tests hold every other elementary function against it.
_WIDE: dict[str, Any] = {"xla_cpu_prefer_vector_width": 512}
_WRONG_IF_WIDE = {"atan", "atan2"}  # arctan2(y, 1) is simplified to arctan


@lru_cache(maxsize=64)
def _kernel(tree, observe: tuple, devices: tuple):
    def chunk(leaves, iterations, radius, streams, points):
        return _run(jax.tree.unflatten(tree, leaves), iterations, radius, streams, points, dict(observe))

    _, many = ENSEMBLE
    mesh = jax.make_mesh((len(devices),), (many,), (jax.sharding.AxisType.Auto,), devices=devices)
    each, same = jax.P(many), jax.P()
    mapped = jax.shard_map(chunk, mesh=mesh, in_specs=(same, same, same, each, each), out_specs=each, check_vma=False)
    return compiled(mapped)


def compiled(function: Callable) -> Callable:
    """`function` of arrays, compiled once for each structure and shape of its arguments, and wide where that is right."""
    kernels = {}

    def call(*arguments):
        leaves, tree = jax.tree.flatten(arguments)
        key = tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if key not in kernels:
            traced = jax.jit(function).trace(*arguments)
            wide = jax.default_backend() == "cpu" and not (_WRONG_IF_WIDE & primitives(traced.jaxpr.jaxpr))
            kernels[key] = traced.lower().compile(compiler_options=_WIDE if wide else None)
        return kernels[key](*arguments)

    return call


def primitives(jaxpr) -> set[str]:
    """The names of all primitives in a jaxpr and in those inside it."""
    found = set()
    for equation in jaxpr.eqns:
        found.add(equation.primitive.name)
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns") or hasattr(leaf, "jaxpr")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                found |= primitives(inner)
    return found


def _run(process: Process, iterations, radius, streams: Stream, points, observe):
    inverse = 1 / radius

    def inside(x):
        # Not of x·x: XLA would share it with a gradient that has it and store it, which costs more than the sum itself.
        return jnp.sum(jnp.square(x * inverse), axis=-1) <= 1  # false for NaN as well

    def step(k, state):
        points, diverged_at = state
        within = inside(points)
        moved = jax.vmap(lambda stream, x: process.advance(stream.child(k, tag=STEP), k, x), axis_name=ENSEMBLE[0])(
            streams, points
        )
        diverged_at = jnp.where((diverged_at < 0) & ~within, k, diverged_at)
        return jnp.where(within[:, None], moved, points), diverged_at

    def until(state, iteration):
        position, last = state
        position = lax.fori_loop(last, iteration, step, position)
        return (position, iteration), _look(process, observe, position[0])

    none = jnp.full(points.shape[:1], -1, jnp.int32)
    first = jnp.zeros((), iterations.dtype)
    ((points, diverged_at), last), seen = lax.scan(until, ((points, none), first), iterations)
    diverged_at = jnp.where((diverged_at < 0) & ~inside(points), last, diverged_at)
    by_run = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), seen)
    return {**by_run, "diverged_at": diverged_at, "final": points}


def _look(process: Process, observe, points):
    gradients = jax.vmap(process.problem.gradient)(points)
    return {
        "loss": jax.vmap(process.problem.value)(points),
        "gradient_norm": jnp.sqrt(jnp.sum(gradients * gradients, axis=-1)),
        "observed": {
            **jax.vmap(process.extra)(points),
            **{name: jax.vmap(function)(points) for name, function in observe.items()},
        },
    }
