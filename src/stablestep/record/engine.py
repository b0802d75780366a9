"""Many independent paths at once: chunks of runs on all cores, recorded at a few times, frozen where they diverge."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from stablestep import native
from stablestep.method import Process, state_size
from stablestep.progress import watched
from stablestep.record.chunks import chunk_of, in_threads, require_memory
from stablestep.schedule import ENSEMBLE
from stablestep.stream import Family, Stream


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
    keep_final: bool = False,
) -> Paths:
    """Paths of `process`, whose leaves are arrays (see `cast`), from each of `points`.

    The result depends on the seed and the number of a run only, not on chunks, threads or devices.

    Raises:
        InvalidInput: if the runs' states and records do not fit into the memory, saying how many bytes they need.
    """
    runs, dim = points.shape
    size = state_size(process, dim, points.dtype)
    batch = runs if process.coupled else chunk_of(runs, size)
    require_memory(runs, size, batch, points, len(iterations) * (2 + len(observe or {})), keep_final)
    leaves, tree = jax.tree.flatten(process)
    root, fixed = Stream.seed(seed), (leaves, np.asarray(iterations), np.asarray(radius, points.dtype))
    # In NumPy, because JAX would compile every operation outside the kernel on its own.
    starts = np.asarray(points)

    def arguments(first: int):
        ids = np.arange(first, first + batch, dtype=np.uint32)
        return *fixed, root.children(ids, Family.RUN), starts[np.minimum(ids, runs - 1)]

    with watched("simulating") as told:
        # Here and not in a thread, which would not see the user's JAX settings.
        kernel = _kernel(tree, tuple(sorted((observe or {}).items()))).kernel(*arguments(0))

        def call(first: int):
            found = kernel(*arguments(first))
            found = found if keep_final else {**found, "final": np.zeros((batch, 0), points.dtype)}
            return jax.tree.map(lambda leaf: np.asarray(leaf)[: min(batch, runs - first)], found)

        pieces = in_threads(call, range(0, runs, batch), told)
    return Paths(**jax.tree.map(lambda *parts: np.concatenate(parts), *pieces))


# jaxlib 0.10.2 compiles arctan to wrong numbers at this vector width; tests hold every other elementary function against it.
_WIDE: dict[str, Any] = {"xla_cpu_prefer_vector_width": 512}
_WRONG_IF_WIDE = {"atan", "atan2"}  # arctan2(y, 1) is simplified to arctan


@lru_cache(maxsize=64)
def _kernel(tree, observe: tuple):
    def chunk(leaves, iterations, radius, streams, points):
        return _run(jax.tree.unflatten(tree, leaves), iterations, radius, streams, points, dict(observe))

    return compiled(chunk)


class compiled:
    """A function of arrays, compiled once for each structure and shape of its arguments, and wide where that is right."""

    def __init__(self, function: Callable):
        self.function, self.kernels, self.lock = function, {}, threading.Lock()

    def __call__(self, *arguments):
        return self.kernel(*arguments)(*arguments)

    def kernel(self, *arguments):
        """The compiled function of arguments like these."""
        leaves, tree = jax.tree.flatten(arguments)
        key = native.build(), tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        with self.lock:  # threads that need the same kernel wait for it
            if key not in self.kernels:
                self.kernels[key] = _compile(self.function, arguments)
        return self.kernels[key]


def _compile(function: Callable, arguments: tuple):
    traced = jax.jit(function).trace(*arguments)
    wide = jax.default_backend() == "cpu" and not (_WRONG_IF_WIDE & primitives(traced.jaxpr.jaxpr))
    return traced.lower().compile(compiler_options=_WIDE if wide else None)


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

    def inside(states):
        x = jax.vmap(process.guarded)(states)
        # Not of x·x: XLA would share it with a gradient that has it and store it, which costs more than the sum itself.
        return jnp.sum(jnp.square(x * inverse), axis=-1) <= 1  # false for NaN as well

    def step(k, carried):
        states, diverged_at = carried
        within = inside(states)
        moved = jax.vmap(lambda stream, state: process.step(stream, k, state), axis_name=ENSEMBLE)(streams, states)
        diverged_at = jnp.where((diverged_at < 0) & ~within, k, diverged_at)
        return jax.tree.map(lambda new, old: _where(within, new, old), moved, states), diverged_at

    def until(carried, iteration):
        position, last = carried
        position = lax.fori_loop(last, iteration, step, position)
        return (position, iteration), _look(process, observe, position[0])

    states = jax.vmap(process.begin)(streams, points)
    none = jnp.full(points.shape[:1], -1, jnp.int32)
    first = jnp.zeros((), iterations.dtype)
    ((states, diverged_at), last), seen = lax.scan(until, ((states, none), first), iterations)
    diverged_at = jnp.where((diverged_at < 0) & ~inside(states), last, diverged_at)
    by_run = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), seen)
    return {**by_run, "diverged_at": diverged_at, "final": jax.vmap(process.point)(states)}


def _where(chosen, new, old):
    return jnp.where(chosen.reshape(chosen.shape + (1,) * (new.ndim - 1)), new, old)


def _look(process: Process, observe, states):
    points = jax.vmap(process.point)(states)
    gradients = jax.vmap(process.problem.gradient)(points)
    return {
        "loss": jax.vmap(process.problem.value)(points),
        "gradient_norm": jnp.sqrt(jnp.sum(gradients * gradients, axis=-1)),
        "observed": {
            **jax.vmap(process.extra)(states),
            **{name: jax.vmap(function)(points) for name, function in observe.items()},
        },
    }
