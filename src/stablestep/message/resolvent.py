"""(I − T)X = Q for the map T by which second moments grow."""

import abc
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stablestep.message.algebra import Block
from stablestep.message.recursion import Moments, Recursion


@dataclass(frozen=True)
class Pair:
    """The second moments and the agents' spread, of `Moments`."""

    second: Block
    apart: tuple[Block, ...]

    @property
    def blocks(self) -> tuple[Block, ...]:
        return (self.second, *self.apart)

    @property
    def flat(self) -> np.ndarray:
        """All blocks one after another [s, …]."""
        return np.concatenate([block.reshape(-1, *block.shape[2:]) for block in self.blocks])

    def like(self, flat: np.ndarray) -> "Pair":
        """The pair of this shape with `flat` in it."""
        sizes = [block.shape[0] * block.shape[1] for block in self.blocks]
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        shaped = [part.reshape(block.shape) for part, block in zip(parts, self.blocks, strict=True)]
        return Pair(shaped[0], tuple(shaped[1:]))


@dataclass(frozen=True)
class Resolvent(abc.ABC):
    """T at one step, from a recursion without additive terms (`Linear.centred`).

    T preserves the cone of second moments, so that it is a contraction iff X = (I − T)⁻¹Q lies in the cone for one Q inside it (Perron).
    """

    recursion: Recursion

    @abc.abstractmethod
    def solve(self, right: Pair) -> Pair:
        """X with X − TX = Q."""

    @property
    @abc.abstractmethod
    def stable(self) -> bool:
        """Whether second moments stay bounded; below the edge of the first moments."""

    @property
    @abc.abstractmethod
    def excess(self) -> float:
        """A number that is negative below the edge and passes through 0 there."""

    @cached_property
    def inside(self) -> Pair:
        """A second moment in the interior of the cone: independent blocks, and agents that differ."""
        one, sizes = self.recursion.algebra.eye(self.recursion.linear.dim), range(len(self.recursion.places))
        eye = [
            np.multiply.outer(np.eye(size), one) for size in (self.recursion.blocks, *map(self.recursion.apart, sizes))
        ]
        return Pair(eye[0], tuple(eye[1:]))

    def in_cone(self, pair: Pair) -> bool:
        """Whether these are second moments (all of them positive definite)."""
        return all(_positive(self.recursion.algebra.joined(block)) for block in pair.blocks if len(block))

    def apply(self, pair: Pair, powers=None) -> Pair:
        """T."""
        mean = np.zeros((self.recursion.blocks, self.recursion.linear.dim))
        after = self.recursion.step(Moments(mean, pair.second, pair.apart), powers=powers)
        return Pair(after.second, after.apart)


def _positive(matrices: np.ndarray) -> bool:
    """Whether every symmetric matrix [n, a, a] is positive definite."""
    if not np.all(np.isfinite(matrices)):
        return False
    return bool(np.min(np.linalg.eigvalsh((matrices + np.swapaxes(matrices, 1, 2)) / 2)) > 0)
