"""The optimizer with a constant step from x0, many members at once, each with a step of its own: does f end above where it began?"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from stablestep.message import Law
from stablestep.problem import Problem
from stablestep.record import cast, compiled, start, working_dtype
from stablestep.stability.case import BLOWN, Case, ceiling
from stablestep.stream import Stream

_MEMBER, _STEP = 8, 9
_TOGETHER = 1 << 16  # coordinates
EDGE = "half of the runs from x0 have blown up, or have a mean of f over their last fifth above f(x0)"


@dataclass(frozen=True)
class Ends:
    """For each member: whether it ended up, whether it passed the ceiling on the way, and how many steps it took."""

    up: Bool[np.ndarray, " members"]
    blown: Bool[np.ndarray, " members"]
    steps: int


class Runner:
    """Runs members of one case; compiled once for all steps, lengths and parameter values of the same structure."""

    def __init__(self, case: Case, members: int, dtype: str = "float32", blown: float = BLOWN):
        self.case, self.members, self.dtype, self.blown = case, members, dtype, blown
        self.seed = case.seed
        low = case.setup.problem.minimum
        with working_dtype(dtype) as kind:
            self.minimum = kind.type(0.0 if low is None else low)
            self.law = cast(case.law, kind)
            self.problem = cast(case.setup.problem, kind)
            self.points = start(case.x0, self.problem, members, case.seed, kind)

    def __call__(self, etas: Float[np.ndarray, " members"], steps: int, batch: int = 0) -> Ends:
        """Run all members for `steps` steps; `batch` chooses their randomness."""
        with working_dtype(self.dtype) as kind:
            ids = np.arange(self.members, dtype=np.uint32)
            streams = Stream.seed(self.case.seed).child(np.uint32(batch), tag=_MEMBER).children(ids, tag=_MEMBER)
            etas = np.broadcast_to(np.asarray(etas, kind), (self.members,))
            fixed = self.law, self.problem, self.minimum, kind.type(self.blown), np.int32(steps)
            found = _ends(*fixed, etas, streams, self.points)
        up, blown, taken = (np.asarray(leaf) for leaf in found)
        return Ends(up, blown, int(taken.sum()))


@compiled
def _ends(law: Law, problem: Problem, minimum, blown, steps, etas, streams: Stream, points):
    def end(eta, stream, x):
        return _end(law, problem, ceiling(minimum, problem.value(x), blown), steps, eta, stream, x)

    # So many members at once that a step stays in the cache.
    together = int(np.clip(_TOGETHER // points.shape[1], 16, points.shape[0]))
    return lax.map(lambda member: end(*member), (etas, streams, points), batch_size=together)


def _end(law: Law, problem: Problem, top, steps, eta: Float[Array, ""], stream: Stream, x0):
    first = problem.value(x0)
    late = steps - jnp.maximum(steps // 5, 1)

    def step(k, state):
        x, total, taken, alive = state
        moved = x - eta * law.draw(stream.child(k.astype(jnp.uint32), tag=_STEP), x)[1]
        value = problem.value(moved)
        total = total + jnp.where(k >= late, value, 0)
        taken = taken + alive.astype(jnp.int32)
        return jnp.where(alive, moved, x), total, taken, alive & (value <= top)

    begin = x0, jnp.zeros_like(first), jnp.int32(0), jnp.bool_(True)
    _, total, taken, alive = lax.fori_loop(0, steps, step, begin)
    mean = total / (steps - late).astype(first.dtype)
    return ~alive | (mean > first), ~alive, taken
