"""Low rank with a memory: PowerSGD."""

import math

import equinox as eqx
import jax.numpy as jnp

from stablestep.compressor.base import FLOAT, Compressor
from stablestep.errors import InvalidInput, checked, require, shown, whole
from stablestep.norms import norm

SPENT = 100  # machine epsilons of itself that must be left of a column for it to count


def saves(rows: int, columns: int, rank: int) -> bool:
    """Whether two factors have fewer numbers than the matrix; then the rank is below both of its sides."""
    return rank * (rows + columns) < rows * columns


def _shape(value: tuple[int, int] | None) -> tuple[int, int] | None:
    if value is None:
        return None
    require(
        isinstance(value, (tuple, list)) and len(value) == 2,
        f"shape is {shown(value)}, but must be (rows, columns), such as (20, 30).",
    )
    return whole("shape[0]", value[0]), whole("shape[1]", value[1])


class LowRank(Compressor):
    """The gradient as a matrix of low rank, with a memory of the error (PowerSGD; Vogels, Karimireddy, Jaggi 2019).

    p = e + g as a matrix M, P = orthonormal columns of M Q, Q⁺ = Mᵀ P, message P Q⁺ᵀ, e⁺ = p − P Q⁺ᵀ: one step of a power iteration that
    goes on from message to message. e = 0 and Q = 0 at the start; a column of Q that is 0 is drawn anew, uniformly on [−1, 1]. The error
    memory is in units of the gradient, as that of `ErrorFeedback(…, step="outside")`.

    Bits: 32 · rank · (rows + columns), or 32 d where that saves nothing; then the gradient is sent as it is. No bound better than
    ‖C(p) − p‖ ≤ ‖p‖ holds for every p and Q.

    Here an agent is by itself and has its own P and Q. Workers of the hook in `stablestep.torch` average M Q and Mᵀ P on the way, so that
    all have the same P and Q, and each parameter is a matrix of its own shape: one agent here is one worker there.

    Args:
        rank: of the message.
        shape: (rows, columns) of the gradient; by default the most square one with rows · columns = d.

    Raises:
        InvalidInput: if rank or shape is no positive whole number, or the shape is not that of d entries.

    >>> low = LowRank(rank=1)
    >>> message, _ = low.send(jnp.array([0.9, 0.1]), jnp.array([2.0, 4.0, 1.0, 2.0]), low.memory(*2 * [jnp.zeros(4)]), jnp.nan)
    >>> message.tolist(), LowRank(rank=2).bits(10_000)
    ([2.0, 4.0, 1.0, 2.0], 12800.0)
    """

    rank: int = eqx.field(static=True, default=2, converter=checked(whole, "rank"))
    shape: tuple[int, int] | None = eqx.field(static=True, default=None, converter=_shape)

    def matrix(self, dim: int) -> tuple[int, int]:
        """(rows, columns) of a gradient with `dim` entries."""
        if self.shape is None:
            rows = next(rows for rows in range(math.isqrt(dim), 0, -1) if dim % rows == 0)
            return rows, dim // rows
        require(
            math.prod(self.shape) == dim,
            f"shape is {self.shape}, with {math.prod(self.shape)} entries, but the gradient has {dim}; leave it out for the squarest one.",
        )
        return self.shape

    def dense(self, dim: int) -> bool:
        """Whether low rank saves nothing, so that all entries are sent."""
        return not saves(*self.matrix(dim), self.rank)

    def memory(self, gradient, exact):
        dim = gradient.shape[0]
        columns = 0 if self.dense(dim) else self.matrix(dim)[1]
        return jnp.zeros_like(gradient), jnp.zeros((columns, self.rank), gradient.dtype)

    def send(self, uniform, gradient, memory, step):
        dim = gradient.shape[0]
        if self.dense(dim):
            return gradient, memory
        error, right = memory
        wanted = (error + gradient).reshape(self.matrix(dim))
        left = _orthonormal(wanted @ _alive(right, uniform))
        right = wanted.T @ left
        sent = left @ right.T
        return sent.reshape(-1), ((wanted - sent).reshape(-1), right)

    def bits(self, dim, shared=False):
        return float(FLOAT * (dim if self.dense(dim) else self.rank * sum(self.matrix(dim))))

    def draws(self, dim):
        return 0 if self.dense(dim) else self.rank * self.matrix(dim)[1]

    def contraction(self, dim):
        raise self.no_contraction("has no contraction that holds for every gradient and every right factor")

    def delay(self, dim):
        raise InvalidInput(f"No bound is known on how far {self.name} messages lag behind; use ErrorFeedback(TopK(…)).")

    @property
    def unbiased(self):
        return False

    @property
    def homogeneous(self):
        return True

    @property
    def remembers(self):
        return True

    def check(self, dim):
        self.matrix(dim)


def _alive(right, uniform):
    """The right factor with columns of largest entry 1, those that are 0 drawn anew."""
    size = jnp.max(jnp.abs(right), axis=0)
    return jnp.where(size > 0, right / jnp.where(size > 0, size, 1), 2 * uniform.reshape(right.shape) - 1)


def _orthonormal(matrix):
    """Gram and Schmidt, each column twice; a column that depends on those before it becomes 0."""
    size = jnp.max(jnp.abs(matrix), axis=0)
    scaled = matrix / jnp.where(size > 0, size, 1)
    found = jnp.zeros_like(matrix)
    for place in range(matrix.shape[1]):
        column = scaled[:, place]
        for _ in range(2):
            column = column - found @ (found.T @ column)
        length = norm(column)
        counts = length > SPENT * jnp.finfo(matrix.dtype).eps * norm(scaled[:, place])
        found = found.at[:, place].set(jnp.where(counts, column / jnp.where(counts, length, 1), 0))
    return found
