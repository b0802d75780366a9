"""Optimizers as functions of the mean message, with torch's conventions and defaults."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

BETA = 0.9
SLOW, NEWTON_SCHULZ = 0.95, (3.4445, -4.775, 2.0315)  # of Muon


@dataclass(frozen=True)
class Optimizer:
    """`begin(x)` gives its state; `update(x, message, state, t, step)` the parameters [d] and the state after step t (from 0)."""

    begin: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any]]


def _sgd(x, message, state, t, step):
    return x - step * message, state


def _momentum(x, message, state, t, step):
    state = BETA * state + message
    return x - step * state, state


def _signum(x, message, state, t, step):
    state = BETA * state + (1 - BETA) * message
    return x - step * jnp.sign(state), state


def _adamw(x, message, state, t, step, second=0.999, decay=0.01, tiny=1e-8):
    mean, square = state
    mean = BETA * mean + (1 - BETA) * message
    square = second * square + (1 - second) * jnp.square(message)
    along = mean / (1 - BETA ** (t + 1)) / (jnp.sqrt(square / (1 - second ** (t + 1))) + tiny)
    return (1 - step * decay) * x - step * along, (mean, square)


def _orthogonal(matrix):
    """Five Newton–Schulz steps towards UVᵀ."""
    a, b, c = NEWTON_SCHULZ
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / jnp.maximum(jnp.linalg.norm(wide), 1e-7)
    for _ in range(5):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def _muon(shapes: tuple[tuple[int, ...], ...]) -> Optimizer:
    """Matrices by Muon with Nesterov, in proportion to AdamW's steps; all else by AdamW; no decay."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    matrix = np.concatenate([np.full(math.prod(shape), len(shape) == 2) for shape in shapes])

    def along(ahead):
        pieces = []
        for shape, piece in zip(shapes, jnp.split(ahead, ends)):
            if len(shape) == 2:
                piece = 0.2 * math.sqrt(max(shape)) * _orthogonal(piece.reshape(shape)).ravel()
            pieces.append(piece)
        return jnp.concatenate(pieces)

    def update(x, message, state, t, step):
        slow, moments = state
        slow = SLOW * slow + (1 - SLOW) * message
        other, moments = _adamw(x, message, moments, t, step, decay=0.0)
        muon = x - step * along(SLOW * slow + (1 - SLOW) * message)
        return jnp.where(matrix, muon, other), (slow, moments)

    return Optimizer(lambda x: (jnp.zeros_like(x), (jnp.zeros_like(x), jnp.zeros_like(x))), update)


OPTIMIZERS: dict[str, Callable[[tuple[tuple[int, ...], ...]], Optimizer]] = {
    "sgd": lambda shapes: Optimizer(lambda x: (), _sgd),
    "momentum": lambda shapes: Optimizer(jnp.zeros_like, _momentum),
    "adam": lambda shapes: Optimizer(lambda x: (jnp.zeros_like(x), jnp.zeros_like(x)), _adamw),
    "signum": lambda shapes: Optimizer(jnp.zeros_like, _signum),
    "muon": _muon,
}
