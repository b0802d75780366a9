"""First moments: their map, its spectral radius, and where they come to rest."""

import numpy as np
from jaxtyping import Float

from stablestep.message.algebra import Dense, Diagonals
from stablestep.message.recursion import Recursion


def mean_maps(recursion: Recursion, eigenvalues: np.ndarray) -> Float[np.ndarray, "n blocks blocks"]:
    """The maps of the first moments for Hessians with these eigenvalues, [n] of all groups or [groups, n]."""
    mean, size = recursion.later.mean, recursion.blocks
    each = np.broadcast_to(eigenvalues, (mean.shape[1] - size, np.shape(eigenvalues)[-1]))
    maps = np.repeat(mean[None, :, :size], each.shape[-1], axis=0)
    maps[:, :, 0] += each.T @ mean[:, size:].T
    return maps


def whole_mean_map(recursion: Recursion) -> np.ndarray:
    """The map of the first moments [blocks · d, blocks · d]."""
    mean, size, dim = recursion.later.mean, recursion.blocks, recursion.linear.dim
    found = np.kron(mean[:, :size], np.eye(dim))
    for group, crew in enumerate(recursion.linear.crews):
        found[:, :dim] += np.kron(mean[:, size + group][:, None], Dense.of(crew.landscape.hessian))
    return found


def common_hessian(recursion: Recursion) -> bool:
    """Whether all groups have one Hessian."""
    first, *others = [crew.landscape.hessian for crew in recursion.linear.crews]
    return all(np.array_equal(first, other) for other in others)


def first_moment_radius(recursion: Recursion) -> float:
    """The spectral radius of the map of first moments."""
    return float(np.max(np.abs(np.linalg.eigvals(_matrices(recursion)))))


def _matrices(recursion: Recursion) -> np.ndarray:
    """The map of first moments as a stack of matrices, small ones where it falls apart."""
    if recursion.algebra is Diagonals:
        return mean_maps(recursion, np.array([crew.landscape.hessian for crew in recursion.linear.crews]))
    if common_hessian(recursion):
        return mean_maps(recursion, recursion.linear.eigenvalues)
    return whole_mean_map(recursion)[None]


def stationary_mean(recursion: Recursion) -> Float[np.ndarray, "blocks d"]:
    """The fixed point of the first moments."""
    size, dim = recursion.blocks, recursion.linear.dim
    slopes = np.array([crew.landscape.slope for crew in recursion.linear.crews])
    added = recursion.later.mean[:, size:] @ slopes
    if recursion.algebra is Diagonals:
        return np.linalg.solve(np.eye(size) - _matrices(recursion), added.T[..., None])[..., 0].T
    return np.linalg.solve(np.eye(size * dim) - whole_mean_map(recursion), added.ravel()).reshape(size, dim)
