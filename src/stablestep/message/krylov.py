"""Second moments as whole matrices: Krylov methods, made well conditioned by the method without masks and relative noise."""

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
from scipy.sparse.linalg import ArpackError, LinearOperator, eigs, gmres

from stablestep.errors import InvalidInput
from stablestep.message.algebra import Block, symmetric
from stablestep.message.resolvent import Pair, Resolvent
from stablestep.message.response import common_hessian, mean_maps, whole_mean_map


class Krylov(Resolvent):
    """T = F · Fᵀ + V, F the mean map and V what masks and relative noise add.

    Below the edge of the first moments L = I − F · Fᵀ can be inverted, L⁻¹ and V preserve the cone, and the spectral radius of L⁻¹V is
    below 1 where that of T is. L⁻¹V X = X − L⁻¹(X − TX).
    """

    def solve(self, right):
        wanted = right.flat.ravel()
        operator = self._operator(self._residual)
        with np.errstate(all="ignore"):
            found, _ = gmres(operator, wanted, rtol=1e-13, restart=60, maxiter=5, M=self._operator(self._without_masks))
        error = np.linalg.norm(operator.matvec(found) - wanted)
        if not error <= 1e-9 * (np.linalg.norm(wanted) + np.linalg.norm(found)):
            raise _unfound()
        return self.inside.like(found.reshape(right.flat.shape))

    @property
    def stable(self):
        return self.excess < 0

    @cached_property
    def excess(self):
        """The spectral radius of L⁻¹V, less 1."""
        grown = self._operator(self._grown)
        first = self.inside.flat.ravel()
        if np.linalg.norm(grown.matvec(first)) <= 1e-12 * np.linalg.norm(first):
            return -1.0
        try:
            return _largest(grown, first) - 1
        except ArpackError as error:
            raise _unfound() from error

    def _operator(self, function: Callable[[Pair], Pair]) -> LinearOperator:
        shape = self.inside.flat.shape

        def product(vector):
            return function(self.inside.like(vector.reshape(shape))).flat.ravel()

        return LinearOperator((math.prod(shape),) * 2, matvec=product, dtype=float)  # pyright: ignore[reportCallIssue]

    def _grown(self, pair: Pair) -> Pair:
        pair = Pair(symmetric(self.recursion.algebra, pair.second), pair.apart)
        return _minus(pair, self._without_masks(self._residual(pair)))

    def _residual(self, pair: Pair) -> Pair:
        return _minus(pair, self.apply(pair))

    def _without_masks(self, pair: Pair) -> Pair:
        """L⁻¹."""
        solved = self._rotated(pair.second) if common_hessian(self.recursion) else self._spectral(pair.second)
        return Pair(solved, tuple(map(self._faded, range(len(pair.apart)), pair.apart)))

    def _rotated(self, second: Block) -> Block:
        """In the eigenbasis of the one Hessian, pair by pair of eigenvalues."""
        basis, count = self._basis, len(second)
        rotated = (basis.T @ second @ basis).reshape(count * count, *second.shape[2:])
        solved = np.matmul(self._pairwise, np.moveaxis(rotated, 0, -1)[..., None])[..., 0]
        return basis @ np.moveaxis(solved, -1, 0).reshape(second.shape) @ basis.T

    @cached_property
    def _basis(self) -> np.ndarray:
        return np.linalg.eigh(self.recursion.linear.average.hessian)[1]

    @cached_property
    def _pairwise(self) -> np.ndarray:
        maps = mean_maps(self.recursion, self.recursion.linear.eigenvalues)
        dim, size = len(maps), maps.shape[1]
        both = np.einsum("jac,kbd->jkabcd", maps, maps).reshape(dim, dim, size * size, size * size)
        return np.linalg.inv(np.eye(size * size) - both)

    def _spectral(self, second: Block) -> Block:
        """In the eigenbasis of the whole mean map."""
        values, basis, inverse = self._spectrum
        whole = inverse @ self.recursion.algebra.joined(second)[0] @ inverse.T
        solved = (basis @ (whole / (1 - np.outer(values, values))) @ basis.T).real
        count, dim = len(second), second.shape[-1]
        return np.swapaxes(solved.reshape(count, dim, count, dim), 1, 2)

    @cached_property
    def _spectrum(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values, basis = np.linalg.eig(whole_mean_map(self.recursion))
        return values, basis, np.linalg.inv(basis)

    def _faded(self, group: int, apart: Block) -> Block:
        if not len(apart):
            return apart
        fades = self.recursion.later.passages[group].mean(self.recursion.linear.crews[group].gain)[:-1, :-1]
        inverse = np.linalg.inv(np.eye(len(fades) ** 2) - np.kron(fades, fades))
        return np.tensordot(inverse, apart.reshape(-1, *apart.shape[2:]), 1).reshape(apart.shape)


def _largest(operator: LinearOperator, first: np.ndarray) -> float:
    """The largest real part of an eigenvalue."""
    found = np.asarray(eigs(operator, k=1, which="LR", v0=first, return_eigenvectors=False))
    return float(np.real(found[0]))


def _minus(one: Pair, other: Pair) -> Pair:
    return one.like(one.flat - other.flat)


def _unfound() -> InvalidInput:
    return InvalidInput(
        "the second moments were not found, because the iteration for them did not converge (the Hessian may be badly conditioned); "
        'simulate the method, or find its critical step by method="lyapunov" or "rollouts".'
    )
