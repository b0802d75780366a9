"""Many members of one training at once: each with a step of its own at every time, advanced chunk by chunk."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.edges.cell import Cell
from benchmarks.edges.optimizers import OPTIMIZERS, Optimizer
from benchmarks.edges.tasks import task
from stablestep.compressor import Identity, RandomSparsification

CHUNK = 20
WHOLE = (Identity, RandomSparsification)  # act coordinate by coordinate, so that tensors need not be split


class Training:
    """Members of a cell: `count` of them advance together."""

    def __init__(self, cell: Cell, count: int = 32):
        self.cell, self.count, self.task = cell, count, task(cell.task)
        self.compressor = _traced(cell.compressor)
        self.pieces = (len(self.task.start),) if isinstance(cell.compressor, WHOLE) else self.task.sizes
        self.first = float(np.mean(_values(cell.task, jax.random.split(jax.random.key(1), 256))))

    def begin(self, seed: int) -> Any:
        """States of all members, with keys of this seed."""
        x = self.task.start
        state = x, self.optimizer.begin(x), empty(self.compressor, self.pieces, self.cell.agents)
        members = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.count, *leaf.shape)), state)
        return jax.random.split(jax.random.key(seed), self.count), 0, members

    def advance(self, state: Any, steps: np.ndarray) -> tuple[Any, np.ndarray]:
        """A chunk of steps [count, CHUNK], and the workers' mean losses before each of them, over the first loss."""
        keys, t, members = state
        members, losses = _advance(
            self._plan, self.compressor, keys, jnp.asarray(t), members, jnp.asarray(steps, np.float32)
        )
        return (keys, t + CHUNK, members), np.asarray(losses, np.float64) / self.first

    def run(self, steps: np.ndarray, seed: int, length: int, rate: float = 0.0) -> np.ndarray:
        """Losses [count, length] of members with steps [count] that grow by e^rate at each time."""
        state, losses = self.begin(seed), []
        for begin in range(0, length, CHUNK):
            grown = steps[:, None] * np.exp(rate * np.arange(begin, begin + CHUNK))
            state, seen = self.advance(state, grown)
            losses.append(seen)
        return np.concatenate(losses, 1)[:, :length]

    def scale(self) -> float:
        """f/⟨∇f, u⟩ at the start, u what the optimizer's first step of length 1 moves by: the step that a straight line asks for."""
        x, update = self.task.start, self.optimizer
        gradients = _gradients(self.cell.task, self.cell.agents, jax.random.key(2))
        sent = jnp.sign(gradients) if self.cell.message == "sign" else gradients
        moved = jax.vmap(lambda message: x - update.update(x, message, update.begin(x), 0, 1.0)[0])(sent.mean(1))
        return self.first / float(jnp.vdot(gradients.mean(1), moved) / len(moved))

    @property
    def optimizer(self) -> Optimizer:
        """For the task's tensors."""
        return OPTIMIZERS[self.cell.optimizer](self.task.shapes)

    @property
    def _plan(self) -> tuple:
        cell = self.cell
        return cell.task, cell.optimizer, cell.agents, cell.message == "shared", self.pieces


def _traced(compressor):
    """One program for every ω."""
    if not isinstance(compressor, RandomSparsification):
        return compressor
    return eqx.tree_at(lambda c: c.sparsity, compressor, jnp.float32(compressor.sparsity))


@eqx.filter_jit
def _values(name, keys):
    chosen = task(name)
    return jax.vmap(lambda key: chosen.loss(chosen.start, chosen.draw(key)))(keys)


@eqx.filter_jit
def _advance(plan, compressor, keys, t, members, steps):
    def one(key, state, steps):
        def body(state, both):
            number, step = both
            return _step(plan, compressor, jax.random.fold_in(key, number), state, number, step)

        return jax.lax.scan(body, state, (t + jnp.arange(CHUNK), steps))

    return jax.vmap(one)(keys, members, steps)


@eqx.filter_jit
def _gradients(name, agents, key):
    """Of 8 sets of workers at the start [8, N, d]."""
    chosen = task(name)
    keys = jax.random.split(key, (8, agents))
    return jax.vmap(jax.vmap(lambda key: jax.grad(chosen.loss)(chosen.start, chosen.draw(key))))(keys)


def _step(plan, compressor, key, state, t, step):
    """One step of one member: the state after it, and the workers' mean loss before it."""
    name, optimizer, agents, shared, pieces = plan
    x, moments, memory = state
    messages, memory, losses = exchange(task(name), compressor, pieces, agents, shared, key, x, memory)
    x, moments = OPTIMIZERS[optimizer](task(name).shapes).update(x, messages.mean(0), moments, t, step)
    return (x, moments, memory), losses.mean()


def empty(compressor, pieces, agents):
    """What all workers remember before their first message."""
    memory = [compressor.memory(piece, piece) for piece in (jnp.zeros(size) for size in pieces)]
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (agents, *leaf.shape)), memory)


def exchange(chosen, compressor, pieces, agents, shared, key, x, memory):
    """All workers' messages [N, d], what they remember, and their losses [N]."""
    batches, masks = jax.random.split(key)
    losses, gradients = jax.vmap(lambda key: jax.value_and_grad(chosen.loss)(x, chosen.draw(key)))(
        jax.random.split(batches, agents)
    )
    keys = jax.random.split(masks, agents)
    keys = jnp.broadcast_to(keys[:1], keys.shape) if shared else keys
    messages, memory = jax.vmap(lambda *each: _send(compressor, pieces, *each))(keys, gradients, memory)
    return messages, memory, losses


def _send(compressor, pieces, key, gradient, memory):
    """One worker's message, tensor by tensor."""
    sent, kept = [], []
    for number, (piece, held) in enumerate(zip(jnp.split(gradient, np.cumsum(pieces)[:-1]), memory)):
        draws = compressor.draws(piece.size)
        uniform = jax.random.uniform(jax.random.fold_in(key, number), (draws,))
        message, held = compressor.send(uniform, piece, held, jnp.nan)
        sent.append(message)
        kept.append(held)
    return jnp.concatenate(sent), kept
