"""Second moments that close coordinate by coordinate: small matrices, and one coupling a group."""

from functools import cached_property

import numpy as np

from stablestep.message.algebra import Diagonals
from stablestep.message.resolvent import Pair, Resolvent


class Coordinates(Resolvent):
    """One coordinate's moments are s numbers, and T is a stack of matrices [d, s, s]; coordinates are coupled by every group's E‖∇f_i‖²
    in the variance of its noise, which is a matrix K of as many rows as there are groups."""

    def solve(self, right):
        alone = self._alone(right.flat)
        answers, inverse = self._couplings
        return self.inside.like(alone + np.tensordot(inverse @ self._powers(alone), answers, 1))

    @property
    def stable(self):
        try:
            return self.in_cone(self._inner)
        except np.linalg.LinAlgError:  # I − T is singular to the last bit
            return False

    @property
    def excess(self):
        """−1/tr X_xx of X = (I − T)⁻¹ of what lies inside the cone; positive just above the edge only."""
        try:
            return -1 / float(np.sum(self._inner.second[0, 0]))
        except np.linalg.LinAlgError:
            return 0.0

    @cached_property
    def _inner(self) -> Pair:
        return self.solve(self.inside)

    @cached_property
    def _inverse(self) -> np.ndarray:
        size = len(self.inside.flat)
        columns = np.array([self.apply(self._unit(place), self._silence).flat for place in range(size)])
        return np.linalg.inv(np.eye(size) - np.transpose(columns, (2, 1, 0)))

    @property
    def _silence(self) -> np.ndarray:
        return np.zeros(len(self.recursion.linear.crews))

    def _unit(self, place: int) -> Pair:
        flat = np.zeros_like(self.inside.flat)
        flat[place] = 1
        return self.inside.like(flat)

    @cached_property
    def _couplings(self) -> tuple[np.ndarray, np.ndarray]:
        """(I − T)⁻¹ of what a unit of each group's E‖∇f_i‖² adds [groups, s, d], without coupling; and (I − K)⁻¹."""
        nothing = self.inside.like(np.zeros_like(self.inside.flat))
        adds = [self.apply(nothing, unit).flat for unit in np.eye(len(self._silence))]
        answers = np.array([self._alone(each) for each in adds])
        return answers, np.linalg.inv(np.eye(len(adds)) - self._powers(answers).T)

    def _powers(self, flat: np.ndarray) -> np.ndarray:
        """E‖∇f_i‖² of every group, the last axis, of states [..., s, d]: their first row is E x²."""
        squares = np.array([np.square(Diagonals.of(crew.landscape.hessian)) for crew in self.recursion.linear.crews])
        return flat[..., 0, :] @ squares.T

    def _alone(self, flat: np.ndarray) -> np.ndarray:
        return np.einsum("jab,bj->aj", self._inverse, flat)
