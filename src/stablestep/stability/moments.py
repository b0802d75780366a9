"""The mean-square edge of a quadratic, exactly: E‖x_k‖² → a limit below it, → ∞ above it."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Float

from stablestep.errors import InvalidInput, require
from stablestep.message import law
from stablestep.problem import Quadratic
from stablestep.record import working_dtype
from stablestep.setup import Setup
from stablestep.stability.start_point import CriticalStep, StartPoint

Matrix = Float[np.ndarray, "d d"]
LARGEST = 64
ROUNDS = 10_000
DEFINITION = "the largest step at which E‖x_k‖² stays bounded (mean-square edge)"


def moments(case: StartPoint) -> CriticalStep:
    """The largest h at which the second moments of the optimizer on a quadratic stay bounded.

    S_{k+1} = (I − hH) S_k (I − hH) + h² C(S_k) + h² C_0, where C(S) is the covariance of the mean message averaged over x of second moment
    S. The map is a contraction iff h < 1/ρ(A⁻¹B), A S = HS + SH, B S = HSH + C(S); both preserve positive matrices, so ρ is found by
    power iteration. For one coordinate and Bernoulli messages this is 2/(λ(1 + A/N)).

    Raises:
        InvalidInput: if the problem is not a positive definite Quadratic, has more than 64 coordinates, or the covariance of the
            messages is not a quadratic function of x.
    """
    case.require_memoryless("moments")
    hessian = _closing(case.setup)
    values, basis = np.linalg.eigh(hessian)
    spread, cost = _spread(case.setup)
    sums = values[:, None] + values[None, :]

    def operator(second: Matrix) -> Matrix:
        image = hessian @ second @ hessian + spread(second)
        return basis @ ((basis.T @ image @ basis) / sums) @ basis.T

    radius, rounds = _radius(operator, np.eye(len(values)))
    step = 1 / radius
    return CriticalStep(step, step, step, "exact", "moments", DEFINITION, cost * rounds)


def _closing(setup: Setup) -> Matrix:
    """The matrix of the quadratic, if second moments close."""
    hessian = quadratic_matrix(setup)
    smallest = float(np.linalg.eigvalsh(hessian)[0])
    require(
        smallest > 0,
        f"the mean-square edge needs a positive definite quadratic, but its smallest eigenvalue is {smallest:.4g}.",
    )
    require(
        setup.dim <= LARGEST,
        f'the moment recursion takes at most {LARGEST} coordinates, but there are {setup.dim}; use method="lyapunov".',
    )
    for group in setup.groups:
        require(
            group.compressor.unbiased,
            f"{type(group.compressor).__name__} messages are not linear in x in the mean, so second moments do not close; "
            'use method="rollouts".',
        )
    return hessian


def quadratic_matrix(setup: Setup) -> Matrix:
    """The matrix of a quadratic problem."""
    problem = setup.problem
    if not isinstance(problem, Quadratic) or setup.differs:
        raise InvalidInput(
            f'the moment recursion needs a Quadratic, but the problem is {type(problem).__name__}; use method="rollouts".'
        )
    matrix = np.asarray(problem.matrix, float)
    return np.diag(matrix) if matrix.ndim == 1 else matrix


def _spread(setup: Setup):
    """S ↦ E Cov(M(x)) − Cov(M(0)) for x of second moment S, from S = Σ λ v vᵀ; and what one evaluation costs."""
    messages, dim = law(setup), setup.dim

    def dense(x):
        operator = messages.covariance(x)
        return jnp.diag(lx.diagonal(operator)) if lx.is_diagonal(operator) else jax.vmap(operator.mv)(jnp.eye(dim))

    with working_dtype("float64"):
        dense = jax.jit(dense)
        zero = np.asarray(dense(jnp.zeros(dim)))
        u, v = np.random.default_rng(0).normal(size=(2, dim))
        probes = (np.asarray(dense(jnp.asarray(x))) - zero for x in (u, v, u + v, u - v))
        many = jax.jit(jax.vmap(dense))
    one, other, ahead, behind = probes
    # The parallelogram law, which quadratic functions obey and no others.
    require(
        np.allclose(ahead + behind, 2 * (one + other), rtol=1e-6, atol=1e-9 * max(1.0, float(np.abs(ahead).max()))),
        "the covariance of these messages is not a quadratic function of x, so second moments do not close; "
        'use method="lyapunov" or "rollouts".',
    )

    def spread(second: Matrix) -> Matrix:
        weights, vectors = np.linalg.eigh((second + second.T) / 2)
        with working_dtype("float64"):
            each = np.asarray(many(jnp.asarray(vectors.T))) - zero
        return np.tensordot(np.maximum(weights, 0), each, axes=1)

    return spread, dim


def _radius(operator, second: Matrix) -> tuple[float, int]:
    """Spectral radius of a map that preserves positive semidefinite matrices, by power iteration from the identity."""
    value = 0.0
    for rounds in range(1, ROUNDS + 1):
        image = operator(second)
        new = float(np.trace(image) / np.trace(second))
        second = image / np.trace(image)
        if abs(new - value) <= 1e-13 * new:
            return new, rounds
        value = new
    return value, ROUNDS
