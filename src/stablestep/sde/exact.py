"""Exact sampling of the linear models: Ornstein-Uhlenbeck on quadratics with additive noise."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stablestep.compressor import Identity
from stablestep.errors import require
from stablestep.later import linalg
from stablestep.noise import Gaussian
from stablestep.problem import Quadratic
from stablestep.record import Paths, cast
from stablestep.schedule import Constant
from stablestep.sde.continuous import Continuous
from stablestep.sde.normalized import DirectionLaw
from stablestep.sde.underdamped import Underdamped

_UNKNOWN = (
    "an exact solution is known for a Quadratic problem, Identity compression, Gaussian noise with sigma1 = 0, a constant step and "
    'the models first, classic, new and flip; use method="euler".'
)


def linear_parts(model: Continuous) -> tuple[np.ndarray, np.ndarray]:
    """(A, C) with drift −A x and GGᵀ = C: A = H + c(η_e/2)H², c = 0, 1 + 2τ, −θ̂ for first, classic, new.

    Raises:
        InvalidInput: if the model is not linear with additive noise.
    """
    signs = {"first": 0.0, "classic": 1 + 2 * model.delay, "new": -model.theta, "flip": -1.0}
    require(model.kind in signs and _is_additive(model), _UNKNOWN)
    covariance = np.asarray(_covariance(cast(model, float)), float)
    hessian = _hessian(model)
    return hessian + signs[model.kind] * model.eta_effective / 2 * hessian @ hessian, covariance


def _is_additive(model: Continuous) -> bool:
    plain = not isinstance(model.law, DirectionLaw) and all(
        isinstance(p.compressor, Identity) and isinstance(p.noise, Gaussian) and not np.any(p.noise.sigma1)
        for p in model.law.groups
    )
    return plain and isinstance(model.problem, Quadratic) and isinstance(model.schedule, Constant)


def _hessian(model: Continuous) -> np.ndarray:
    matrix = np.asarray(model.problem.matrix, float)  # pyright: ignore[reportAttributeAccessIssue]
    return np.diag(matrix) if matrix.ndim == 1 else matrix


@eqx.filter_jit
def _covariance(model: Continuous):
    root = model.diffusion(0.0, model.begin(jnp.zeros(model.problem.dim))).as_matrix()
    return root @ root.T


def pair_transition(model: Underdamped) -> tuple[np.ndarray, np.ndarray]:
    """The mean map of (X, m) and its covariance over one iteration, by the exponential of a block matrix (Van Loan 1978).

    Raises:
        InvalidInput: if the model is not linear with additive noise.
    """
    require(_is_additive(model), _UNKNOWN)
    with jax.enable_x64(True):
        drift = np.asarray(_pair_drift(cast(model, float)), float)
        own = np.asarray(_covariance(cast(model, float)), float)
    size, dim = len(drift), len(own)
    noise = np.zeros((size, size))
    noise[dim:, dim:] = own
    block = linalg.expm(np.block([[-drift, noise], [np.zeros_like(drift), drift.T]]) * float(model.tick))
    decay = block[size:, size:].T
    return decay, decay @ block[:size, size:]


@eqx.filter_jit
def _pair_drift(model: Underdamped):
    def flat(state):
        return jnp.concatenate(model.drift(0.0, tuple(jnp.split(state, 2))))

    return jax.jacfwd(flat)(jnp.zeros(2 * model.problem.dim))


def transition(drift: np.ndarray, covariance: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
    """(e^{−A t}, ∫₀ᵗ e^{−A s} C e^{−A s} ds) for symmetric A: the mean map and covariance over a time t.

    >>> decay, spread = transition(np.eye(1), 2 * np.eye(1), 100.0)
    >>> float(spread[0, 0])
    1.0
    """
    values, vectors = np.linalg.eigh(drift)
    inner = vectors.T @ covariance @ vectors
    total = values[:, None] + values
    safe = np.where(np.abs(total) < 1e-14, 1, total)
    weight = np.where(np.abs(total) < 1e-14, time, -np.expm1(-safe * time) / safe)
    decay = (vectors * np.exp(-values * time)) @ vectors.T
    return decay, vectors @ (inner * weight) @ vectors.T


def exact_paths(
    model: Continuous, points: Float[Array, "runs d"], times: np.ndarray, seed: int, radius: float
) -> Paths:
    """Paths with the exact joint law at the recorded times."""
    require(bool(np.all(np.diff(times) > 0)), "recorded times must increase.")
    drift, covariance = linear_parts(model)
    x = np.asarray(points, float)
    states = [x]
    for index, gap in enumerate(np.diff(times)):
        decay, spread = transition(drift, covariance, float(gap))
        values, vectors = np.linalg.eigh(spread)
        root = vectors * np.sqrt(np.maximum(values, 0))
        normal = jax.random.normal(jax.random.fold_in(jax.random.key(seed), index), x.shape)
        x = x @ decay.T + np.asarray(normal, float) @ root.T
        states.append(x)
    stacked = np.stack(states, axis=1)
    outside = ~(np.linalg.norm(stacked, axis=2) <= radius)
    hessian = np.asarray(model.problem.matrix, float)  # pyright: ignore[reportAttributeAccessIssue]
    gradients = stacked * hessian if hessian.ndim == 1 else stacked @ hessian
    return Paths(
        loss=np.sum(stacked * gradients, axis=2) / 2,
        gradient_norm=np.linalg.norm(gradients, axis=2),
        diverged_at=np.where(outside.any(axis=1), times[outside.argmax(axis=1)], -1.0),
        observed={},
        final=x,
    )
