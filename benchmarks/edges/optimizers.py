"""Optimizers as functions of the mean message, with torch's conventions and defaults."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

BETA = 0.9


@dataclass(frozen=True)
class Optimizer:
    """`begin(x)` gives its state; `update(x, message, state, t, step)` the parameters and the state after step t (from 0)."""

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


OPTIMIZERS = {
    "sgd": Optimizer(lambda x: (), _sgd),
    "momentum": Optimizer(jnp.zeros_like, _momentum),
    "adam": Optimizer(lambda x: (jnp.zeros_like(x), jnp.zeros_like(x)), _adamw),
    "signum": Optimizer(jnp.zeros_like, _signum),
}
