"""The optimizer with a constant step from x0, many members at once, each with a step of its own: does f end above where it began?"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, Float

from stablestep.errors import require
from stablestep.method import Method, method, state_size
from stablestep.record import cast, compiled, start, within_memory, working_dtype
from stablestep.schedule import Constant
from stablestep.stability.start_point import BLOWN, StartPoint, ceiling
from stablestep.stream import Family, Stream

_TOGETHER = 1 << 16  # coordinates


@dataclass(frozen=True)
class Ends:
    """For each member: whether it ended up, whether it passed the ceiling on the way, and how many steps it took."""

    up: Bool[np.ndarray, " members"]
    blown: Bool[np.ndarray, " members"]
    steps: int


class Runner:
    """Runs members of one case; compiled once for all steps, lengths and parameter values of the same structure."""

    def __init__(self, case: StartPoint, members: int, dtype: str = "float32", blown: float = BLOWN):
        self.case, self.members, self.dtype, self.blown = case, members, dtype, blown
        self.seed = case.seed
        low = case.setup.problem.minimum
        with working_dtype(dtype) as kind:
            self.minimum = kind.type(0.0 if low is None else low)
            self.method = cast(method(case.setup, Constant(1.0)), kind)
            self.points = start(case.x0, self.method.problem, members, case.seed, kind)
            self.size = state_size(self.method, case.setup.dim, kind)
            within_memory(
                3 * members * self.size * kind.itemsize,
                f"{members} members of {self.size} numbers each",
                "fewer members",
            )

    def __call__(self, etas: Float[np.ndarray, " members"] | float, steps: int, batch: int = 0) -> Ends:
        """Run all members for `steps` steps; `batch` chooses their randomness."""
        with working_dtype(self.dtype) as kind:
            ids = np.arange(self.members, dtype=np.uint32)
            streams = Stream.seed(self.seed).child(np.uint32(batch), Family.BATCH).children(ids, Family.RUN)
            etas = np.broadcast_to(_held(etas, kind), (self.members,))
            found = _ends(self.method, self.minimum, kind.type(self.blown), np.int32(steps), etas, streams, self.points)
        up, blown, taken = (np.asarray(leaf) for leaf in found)
        return Ends(up, blown, int(taken.sum()))


def _held(etas: Float[np.ndarray, " members"] | float, kind: np.dtype) -> Float[np.ndarray, "..."]:
    """Steps in the working precision, of which none may become infinite: an edge found there would be the type's own."""
    with np.errstate(over="ignore"):
        held = np.asarray(etas, kind)
    largest = float(np.max(etas))
    require(
        bool(np.all(np.isfinite(held))),
        f"a run has the step {largest:.4g}, but steps must be below {np.finfo(kind).max:.4g} in {kind}; scale f or x.",
    )
    return held


@compiled
def _ends(method: Method, minimum, blown, steps, etas, streams: Stream, points):
    def end(eta, stream, x):
        own = eqx.tree_at(lambda one: (one.schedule.eta, one.eta), method, (eta, eta))
        return _end(own, ceiling(minimum, method.problem.value(x), blown), steps, stream, x)

    # So many members at once that a step stays in the cache.
    size = state_size(method, points.shape[1], points.dtype)
    together = int(np.clip(_TOGETHER // size, 16, points.shape[0]))
    return lax.map(lambda member: end(*member), (etas, streams, points), batch_size=together)


def _end(method: Method, top, steps, stream: Stream, x0):
    value = method.problem.value
    first = value(x0)
    late = steps - jnp.maximum(steps // 5, 1)

    def step(k, carried):
        state, total, taken, alive = carried
        after = method.step(stream, k, state)
        now = value(method.point(after))
        total = total + jnp.where(k >= late, now, 0)
        taken = taken + alive.astype(jnp.int32)
        state = jax.tree.map(lambda new, old: jnp.where(alive, new, old), after, state)
        return state, total, taken, alive & (now <= top)

    begin = method.begin(stream, x0), jnp.zeros_like(first), jnp.int32(0), jnp.bool_(True)
    _, total, taken, alive = lax.fori_loop(0, steps, step, begin)
    mean = total / (steps - late).astype(first.dtype)
    return ~alive | (mean > first), ~alive, taken
