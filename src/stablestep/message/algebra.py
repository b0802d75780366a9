"""Blocks of second moments, d × d or (where H is diagonal, so that they close) their diagonals alone."""

import jax
import numpy as np
from jaxtyping import Float

Block = Float[np.ndarray, "... d d"] | Float[np.ndarray, "... d"]
Vectors = Float[np.ndarray, "... d"]
LARGE = 2**18  # multiplications of a product, from which on NumPy takes threads


class Diagonals:
    """Only the diagonal of every block: O(d)."""

    @staticmethod
    def of(matrix: np.ndarray) -> np.ndarray:
        """A matrix (as [d] if it is diagonal) as a block."""
        return matrix if matrix.ndim == 1 else np.diag(matrix)

    @staticmethod
    def left(hessian: np.ndarray, block: Block) -> Block:
        return hessian * block

    @staticmethod
    def right(block: Block, hessian: np.ndarray) -> Block:
        return block * hessian

    @staticmethod
    def transposed(block: Block) -> Block:
        return block

    @staticmethod
    def outer(a: Vectors, b: Vectors) -> Block:
        return a * b

    @staticmethod
    def diagonal(block: Block) -> Vectors:
        return block

    @staticmethod
    def masked(weights: np.ndarray, block: Block) -> Block:
        """weights ∘ block."""
        return Diagonals.of(weights) * block

    @staticmethod
    def eye(dim: int) -> Block:
        return np.ones(dim)

    @staticmethod
    def applied(hessian: np.ndarray, vector: Vectors) -> Vectors:
        return hessian * vector

    @staticmethod
    def joined(blocks: Block) -> np.ndarray:
        """Blocks [a, b, d] as symmetric matrices, positive semidefinite together or not: one a × b for each coordinate."""
        return np.moveaxis(blocks, -1, 0)


class Dense:
    """Whole blocks: O(d²)."""

    @staticmethod
    def of(matrix: np.ndarray) -> np.ndarray:
        return np.diag(matrix) if matrix.ndim == 1 else matrix

    @staticmethod
    def left(hessian: np.ndarray, block: Block) -> Block:
        return times(block, hessian.T, turned=True)

    @staticmethod
    def right(block: Block, hessian: np.ndarray) -> Block:
        return times(block, hessian)

    @staticmethod
    def transposed(block: Block) -> Block:
        return np.swapaxes(block, -1, -2)

    @staticmethod
    def outer(a: Vectors, b: Vectors) -> Block:
        return a[..., :, None] * b[..., None, :]

    @staticmethod
    def diagonal(block: Block) -> Vectors:
        return np.diagonal(block, axis1=-2, axis2=-1)

    @staticmethod
    def masked(weights: np.ndarray, block: Block) -> Block:
        return (np.diag(weights) if weights.ndim == 1 else weights) * block

    @staticmethod
    def eye(dim: int) -> Block:
        return np.eye(dim)

    @staticmethod
    def applied(hessian: np.ndarray, vector: Vectors) -> Vectors:
        return vector @ hessian

    @staticmethod
    def joined(blocks: Block) -> np.ndarray:
        count, dim = len(blocks), blocks.shape[-1]
        return np.swapaxes(blocks, 1, 2).reshape(1, count * dim, count * dim)


Algebra = type[Diagonals] | type[Dense]


def times(blocks: Block, matrix: np.ndarray, turned: bool = False) -> Block:
    """blocks · matrix, or (`turned`) matrixᵀ · blocks, as one product of two matrices: many small ones wait for each other's threads."""
    given = np.swapaxes(blocks, -1, -2) if turned else blocks
    found = product(np.ascontiguousarray(given).reshape(-1, len(matrix)), matrix).reshape(*given.shape[:-1], -1)
    return np.swapaxes(found, -1, -2) if turned else found


def product(a: Float[np.ndarray, "m k"], b: Float[np.ndarray, "k n"]) -> Float[np.ndarray, "m n"]:
    """a · b; a large one by XLA, since NumPy's threads wait for each other where cores are busy, ten times as long as they work."""
    if a.size * b.shape[1] < LARGE:
        return a @ b
    with jax.enable_x64(True):
        return np.asarray(_product(a, b))


@jax.jit
def _product(a, b):
    return a @ b


def sandwich(left: np.ndarray, blocks: Block) -> Block:
    """left · blocks · leftᵀ, a small matrix [a, b] of numbers around blocks [b, b, …]."""
    flat = blocks.reshape(left.shape[1] ** 2, -1)
    return product(np.kron(left, left), flat).reshape(len(left), len(left), *blocks.shape[2:])


def weighed(vector: np.ndarray, blocks: Block) -> Block:
    """vectorᵀ blocks vector, one block."""
    return product(np.kron(vector, vector)[None], blocks.reshape(len(vector) ** 2, -1)).reshape(blocks.shape[2:])


def symmetric(algebra: Algebra, blocks: Block) -> Block:
    """The symmetric part of blocks [a, a, …]."""
    return (blocks + np.swapaxes(algebra.transposed(blocks), 0, 1)) / 2
