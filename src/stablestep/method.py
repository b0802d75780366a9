"""A process is a state and a step; the method is the process of the optimizer. Every run, wherever it is needed, is made of these."""

import abc
from functools import lru_cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from stablestep.compressor import Compressor
from stablestep.compressor.feedback import Wrapper
from stablestep.errors import InvalidInput, require
from stablestep.message import Law, law
from stablestep.norms import norm
from stablestep.problem import Problem
from stablestep.schedule import Schedule, Seen
from stablestep.server import Server
from stablestep.setup import Setup
from stablestep.stream import Family, Stream

Vector = Float[Array, " d"]
Scalar = Float[Array, ""]


class State(NamedTuple):
    """Where a run is: the point x [d], what each group of agents remembers (n × …, or ()), and what the server remembers."""

    x: Vector
    agents: tuple[Any, ...]
    server: Any


class Process(eqx.Module):
    """Something that moves a state, a pytree of arrays, by one step, with f and its gradient looked at along the way."""

    problem: eqx.AbstractVar[Problem]

    @property
    def coupled(self) -> bool:
        """Whether a step uses means over all runs (over the axis `schedule.ENSEMBLE`), so that all must be in one call."""
        return False

    def begin(self, stream: Stream, x: Vector) -> Any:
        """The state of a run that starts at x [d]; `stream` is that of the run. By default x itself."""
        return x

    @abc.abstractmethod
    def step(self, stream: Stream, k: Int[Array, ""], state: Any) -> Any:
        """The state after iteration k of the run with this stream, with the randomness of `stream.child(k, Family.STEP)`."""

    def point(self, state: Any) -> Vector:
        """Where f is looked at [d]."""
        return state

    def guarded(self, state: Any) -> Vector:
        """What must stay in the ball that defines divergence; by default the point."""
        return self.point(state)

    def extra(self, state: Any) -> dict[str, Array]:
        """What else to record of a state."""
        return {}


class Method(Process):
    """x ← x − ηη_t D, D what the server makes of the mean message of all agents.

    `eta` is the time step, apart from the schedule so that t = kη holds whatever the schedule calls it.
    """

    problem: Problem
    law: Law
    server: Server
    schedule: Schedule
    eta: Float[Array, ""] | float

    @property
    def coupled(self):
        return self.schedule.needs_ensemble

    def begin(self, stream, x) -> State:
        first = stream.child(jnp.uint32(0), Family.STEP)
        return State(x, self.law.begin(first, x), self.server.memory(self.problem.gradient(x)))

    def point(self, state):
        return state.x

    def step(self, stream, k, state) -> State:
        time = k.astype(state.x.dtype) * self.eta
        own = stream.child(k.astype(jnp.uint32), Family.STEP)
        drawn = self.law.advance(own, state.x, state.agents, lambda gradient: self._known(time, gradient))
        direction, server = self.server.turn(drawn.message, state.server)
        seen = Seen(norm(drawn.gradient), norm(drawn.message), drawn.local_norm, norm(direction))
        return State(moved(state.x, self.schedule.step(time, seen), direction), drawn.memory, server)

    def _known(self, time: Scalar, gradient: Vector) -> Scalar:
        """The step before any message was seen, for agents that need it."""
        unknown = jnp.full((), jnp.nan, gradient.dtype)
        if not self.law.needs_step:
            return unknown
        return self.schedule.step(time, Seen(norm(gradient), unknown, unknown, unknown))


def method(setup: Setup, schedule: Schedule, sampling: str = "auto") -> Method:
    """The method of `setup` under a schedule that is bound to it.

    Raises:
        InvalidInput: where they do not fit each other: agents that need the step before the messages that it depends on.
    """
    if schedule.needs_agents:
        require(
            sampling != "law",
            f"{type(schedule).__name__} needs each agent's own norm; use sampling='agents' or 'auto'.",
        )
        sampling = "agents"
    messages = law(setup, sampling)
    if messages.needs_step and schedule.sees_messages:
        name = next(_inside(group.compressor).name for group in setup.groups if group.compressor.needs_step)
        raise InvalidInput(
            f"{name} with the step inside its memory needs a step that an agent knows before it sends, but {type(schedule).__name__} "
            'depends on the messages; use step="outside".'
        )
    return Method(setup.problem, messages, setup.server, schedule, schedule.eta)


def _inside(compressor: Compressor) -> Compressor:
    """The compressor that needs the step itself, in others that need it because of it."""
    while isinstance(compressor, Wrapper) and compressor.inner.needs_step:
        compressor = compressor.inner
    return compressor


def moved(x: Vector, step: Scalar | float, direction: Vector) -> Vector:
    """x − ηη_t D, the update of every method."""
    return x - step * direction


def state_size(process: Any, dim: int, dtype: Any) -> int:
    """How many numbers the state of one run holds."""
    leaves, tree = jax.tree.flatten(process)
    return _size(tree, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves), dim, jnp.dtype(dtype))


@lru_cache(maxsize=256)
def _size(tree, kinds: tuple, dim: int, dtype) -> int:
    process = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*kind) for kind in kinds])
    stream = jax.eval_shape(lambda: Stream.seed(0))
    shapes = jax.eval_shape(lambda one, s, x: one.begin(s, x), process, stream, jax.ShapeDtypeStruct((dim,), dtype))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))
