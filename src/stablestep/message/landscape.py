"""What the exact moments need to know of a problem and of a noise: an affine gradient, and a covariance that is quadratic in it."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from stablestep.errors import InvalidInput
from stablestep.message.linear import dense, traced
from stablestep.noise import Noise
from stablestep.problem import Problem, Quadratic

Vector = Float[np.ndarray, " d"]
Matrix = Float[np.ndarray, "d d"]
SIZES = (1e-2, 1.0, 1e2)  # of the points at which a gradient is tried


@dataclass(frozen=True)
class Landscape:
    """f(x) = ½ xᵀHx + b·x + f(0); H as [d] if it is diagonal."""

    hessian: Vector | Matrix
    slope: Vector
    value: float


def landscape(problem: Problem) -> Landscape:
    """The numbers of a problem whose gradient is affine.

    Raises:
        InvalidInput: for any other problem.

    >>> landscape(Quadratic([1.0, 4.0])).hessian.tolist()
    [1.0, 4.0]
    """
    if type(problem) is Quadratic:
        return Landscape(np.asarray(problem.matrix, float), np.zeros(problem.dim), 0.0)
    probes = np.random.default_rng(0).normal(size=(len(SIZES), problem.dim)) * np.array(SIZES)[:, None]
    with jax.enable_x64(True), np.errstate(all="ignore"):
        found = _read(traced(problem), jnp.asarray(probes))
    value, slope, hessian, gradients = (np.asarray(part, float) for part in found)
    wanted = slope + probes @ hessian
    error = np.linalg.norm(gradients - wanted, axis=1)
    if not np.all(error <= 1e-9 * (np.linalg.norm(slope) + np.linalg.norm(gradients, axis=1))):
        raise InvalidInput(
            f"the moment recursion needs a Quadratic, but the gradient of the problem, {type(problem).__name__}, is not affine; simulate "
            'the method, or find its critical step by method="rollouts".'
        )
    diagonal = np.diag(hessian)
    return Landscape(diagonal if np.array_equal(hessian, np.diag(diagonal)) else hessian, slope, float(value))


@eqx.filter_jit
def _read(problem: Problem, probes):
    zero = jnp.zeros_like(probes[0])
    hessian = jax.lax.map(lambda v: problem.hessian_product(zero, v), jnp.eye(zero.size, dtype=zero.dtype))
    return problem.value(zero), problem.gradient(zero), (hessian + hessian.T) / 2, jax.vmap(problem.gradient)(probes)


@dataclass(frozen=True)
class Spread:
    """Cov of one gradient = additive + diag(relative) ‖g‖² + diag(own) diag(g²): what is affine in ggᵀ of the noises in use.

    `additive` is [d] if it is diagonal, else [d, d].
    """

    additive: Vector | Matrix
    relative: Vector
    own: Vector


def spread(noise: Noise, problem: Problem) -> Spread:
    """The covariance of a noise as a function of the gradient.

    Raises:
        InvalidInput: where it is infinite, or of another form.

    >>> from stablestep.noise import Gaussian
    >>> spread(Gaussian(sigma0=1.0, sigma1=0.5), Quadratic([1.0, 4.0])).relative.round(12).tolist()
    [0.25, 0.25]
    """
    dim = problem.dim
    if noise.is_zero:
        return Spread(np.zeros(dim), np.zeros(dim), np.zeros(dim))
    rng = np.random.default_rng(0)
    probes = [np.zeros(dim), np.ones(dim), np.linspace(1, 2, dim), *rng.normal(size=(2, dim))]
    with jax.enable_x64(True):
        points = rng.normal(size=(len(probes), dim))
        found = _covariances(traced(noise), traced(problem), points, probes)
        size = float(np.exp2(np.ceil(np.log2(max(1.0, float(np.max(found[0])))) / 2)))
        large = [size * probe for probe in probes]
        if size > 1:  # gradients as large as the noise, beside which rounding would hide what grows with them
            found = _covariances(traced(noise), traced(problem), points, large)
    additive, even, uneven, *others = (np.asarray(part, float) for part in found)
    relative, own = _parts(_diagonal(even - additive) / size**2, _diagonal(uneven - additive) / size**2, probes[2])
    result = Spread(additive, relative, own)
    for probe, other in zip(large[1:], (even, uneven, *others), strict=True):
        added = relative * (probe @ probe) + own * probe**2
        wanted = additive + (added if additive.ndim == 1 else np.diag(added))
        if not np.allclose(other, wanted, rtol=1e-9, atol=1e-9 * float(np.max(np.abs(wanted)))):
            raise InvalidInput(
                f"the covariance of {type(noise).__name__} noise is not σ0² + σ1²‖g‖² in every coordinate, so second moments do not "
                'close; use method="rollouts".'
            )
    return result


@eqx.filter_jit
def _covariances(noise: Noise, problem: Problem, points, probes):
    both = zip(points, probes, strict=True)
    return [dense(noise.covariance(problem, jnp.asarray(point), jnp.asarray(probe))) for point, probe in both]


def _diagonal(matrix: np.ndarray) -> Vector:
    return matrix if matrix.ndim == 1 else np.diag(matrix)


def _parts(even: Vector, uneven: Vector, probe: Vector) -> tuple[Vector, Vector]:
    """(r, s) with r d + s = even and r ‖v‖² + s v² = uneven; s = 0 where the two cannot be told apart (one coordinate)."""
    dim, square = len(probe), float(probe @ probe)
    room = dim * probe**2 - square
    clear = np.abs(room) > 1e-9 * square
    relative = np.where(clear, (even * probe**2 - uneven) / np.where(clear, room, 1), even / dim)
    relative = np.where(np.abs(relative) <= 1e-12 * np.max(np.abs(even), initial=0), 0, relative)
    own = even - dim * relative
    return relative, np.where(np.abs(own) <= 1e-9 * np.abs(even), 0, own)
