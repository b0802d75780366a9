"""The small trainings: a start, a loss of parameters and batch, and a batch of a key."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks.edges import data
from benchmarks.edges.layers import (
    attention,
    cross_entropy,
    dense,
    linear,
    normed,
    patches,
    perceptron,
    pooled,
    scale,
    through,
)

BATCH, CONTEXT, WINDOW = 16, 3, 16
SEED = 0


@dataclass(frozen=True)
class Task:
    """Something to learn, with flat parameters.

    Attributes:
        start: where training begins [d].
        shapes: of its tensors, which are compressed one by one.
        loss: of parameters [d] and a batch.
        draw: a batch of a key.
    """

    name: str
    start: jax.Array
    shapes: tuple[tuple[int, ...], ...]
    loss: Callable[[jax.Array, Any], jax.Array]
    draw: Callable[[jax.Array], Any]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of its tensors."""
        return tuple(math.prod(shape) for shape in self.shapes)


TASKS: dict[str, Callable[[], tuple[Callable, Callable, Callable]]] = {}


def task_of(make):
    """Register a task by its function's name: it gives start(key), loss(parameters, batch), draw(key)."""
    TASKS[make.__name__] = make
    return make


@cache
def task(name: str) -> Task:
    """One of `TASKS`."""
    start, loss, draw = TASKS[name]()
    tree = start(jax.random.key(SEED))
    flat, unravel = ravel_pytree(tree)
    shapes = tuple(leaf.shape for leaf in jax.tree.leaves(tree))
    return Task(name, flat, shapes, lambda x, batch: loss(unravel(x), batch), draw)


def rows(*arrays, batch: int = BATCH) -> Callable:
    """Draws the same rows of all arrays."""

    def draw(key):
        chosen = jax.random.randint(key, (batch,), 0, len(arrays[0]))
        return tuple(jnp.asarray(array)[chosen] for array in arrays)

    return draw


def windows(length: int, batch: int = BATCH) -> Callable:
    """Draws stretches of text [batch, length]."""
    letters = data.text()

    def draw(key):
        starts = jax.random.randint(key, (batch, 1), 0, len(letters) - length)
        return jnp.asarray(letters)[starts + jnp.arange(length)]

    return draw


def squares(predicted, wanted):
    return jnp.square(predicted - wanted).mean()


@task_of
def logistic():
    x = data.features(4000, 100, 1.0, seed=1)
    y = np.sign(x @ data.weights(100, 1, seed=2)[:, 0] + 0.3 * data.features(4000, 1, 0.0, seed=3)[:, 0])

    def loss(w, batch):
        return jax.nn.softplus(-batch[1] * (batch[0] @ w)).mean()

    return lambda key: jnp.zeros(100), loss, rows(x, y.astype(np.float32))


@task_of
def regression():
    x = data.features(4000, 200, 1.2, seed=4)
    y = x @ data.weights(200, 1, seed=5)[:, 0] + 0.1 * data.features(4000, 1, 0.0, seed=6)[:, 0]
    return lambda key: jnp.zeros(200), lambda w, batch: squares(batch[0] @ w, batch[1]), rows(x, y.astype(np.float32))


@task_of
def teacher():
    x = data.features(4000, 20, 0.0, seed=7)
    y = np.tanh(x @ data.weights(20, 12, seed=8) / np.sqrt(20)) @ data.weights(12, 1, seed=9)[:, 0]

    def loss(net, batch):
        return squares(through(net, batch[0], jnp.tanh)[:, 0], batch[1])

    return lambda key: perceptron(key, (20, 30, 1)), loss, rows(x, y.astype(np.float32))


@task_of
def factors():
    table = data.weights(40, 4, seed=10) @ data.weights(30, 4, seed=11).T / 2

    def start(key):
        left, right = jax.random.split(key)
        return 0.5 * jax.random.normal(left, (40, 4)), 0.5 * jax.random.normal(right, (30, 4))

    def loss(pair, batch):
        return squares((pair[0][batch[0]] * pair[1][batch[1]]).sum(-1), jnp.asarray(table)[batch])

    def draw(key):
        row, column = jax.random.split(key)
        return jax.random.randint(row, (BATCH,), 0, 40), jax.random.randint(column, (BATCH,), 0, 30)

    return start, loss, draw


@task_of
def autoencoder():
    images, _ = data.digits()
    return (
        lambda key: perceptron(key, (64, 16, 64)),
        lambda net, batch: squares(through(net, batch[0], jnp.tanh), batch[0]),
        rows(images),
    )


def _digits(activation, widths, **options):
    """A perceptron on digits."""

    def loss(net, batch):
        return cross_entropy(through(net, batch[0], activation), batch[1])

    return lambda key: perceptron(key, (64, *widths, 10), **options), loss, rows(*data.digits())


@task_of
def softmax():
    return _digits(jnp.tanh, ())


@task_of
def tanh():
    return _digits(jnp.tanh, (32, 32))


@task_of
def relu():
    return _digits(jax.nn.relu, (64,), gain=2**0.5)


@task_of
def normalized():
    return _digits(jax.nn.gelu, (32, 32), norm=True)


@task_of
def residual():
    def start(key):
        first, last, *blocks = jax.random.split(key, 6)
        return {
            "first": dense(first, 64, 32),
            "last": dense(last, 32, 10),
            "blocks": [
                {"in": dense(k, 32, 32, 2**0.5), "out": dense(jax.random.fold_in(k, 1), 32, 32)} for k in blocks
            ],
        }

    def loss(net, batch):
        x = linear(net["first"], batch[0])
        for block in net["blocks"]:
            x = x + linear(block["out"], jax.nn.gelu(linear(block["in"], x)))
        return cross_entropy(linear(net["last"], x), batch[1])

    return start, loss, rows(*data.digits())


@task_of
def convolution():
    def start(key):
        first, second, last = jax.random.split(key, 3)
        return {
            "first": dense(first, 9, 8, 2**0.5),
            "second": dense(second, 72, 12, 2**0.5),
            "last": dense(last, 192, 10),
        }

    def loss(net, batch):
        x = jax.nn.gelu(linear(net["first"], patches(batch[0].reshape(-1, 8, 8, 1))))
        x = jax.nn.gelu(linear(net["second"], patches(pooled(x))))
        return cross_entropy(linear(net["last"], x.reshape(len(x), -1)), batch[1])

    return start, loss, rows(*data.digits(), batch=8)


def _letters(activation, width, **options):
    """A perceptron on the embeddings of the last letters."""

    def start(key):
        embed, rest = jax.random.split(key)
        net = perceptron(rest, (8 * CONTEXT, width, data.LETTERS), **options)
        return {"embed": jax.random.normal(embed, (data.LETTERS, 8)), "net": net}

    def loss(tree, batch):
        seen = tree["embed"][batch[:, :-1]].reshape(len(batch), -1)
        return cross_entropy(through(tree["net"], seen, activation), batch[:, -1])

    return start, loss, windows(CONTEXT + 1)


@task_of
def letters():
    return _letters(jnp.tanh, 32)


@task_of
def letters_normalized():
    return _letters(jax.nn.gelu, 32, norm=True)


def _transformer(norm: bool, width: int = 16, heads: int = 2):
    def start(key):
        keys = jax.random.split(key, 6)
        return {
            "embed": jax.random.normal(keys[0], (data.LETTERS, width)),
            "place": 0.3 * jax.random.normal(keys[1], (WINDOW, width)),
            "attend": dense(keys[2], width, 3 * width),
            "project": dense(keys[3], width, width),
            "mix": perceptron(keys[4], (width, 4 * width, width)),
            "head": dense(keys[5], width, data.LETTERS),
            "norms": [scale(width) for _ in range(3)] if norm else [],
        }

    def loss(net, batch):
        def norm_of(number, x):
            return normed(net["norms"][number], x) if norm else x

        x = net["embed"][batch[:, :-1]] + net["place"]
        x = x + attention(net, norm_of(0, x), heads)
        x = x + through(net["mix"], norm_of(1, x), jax.nn.gelu)
        return cross_entropy(linear(net["head"], norm_of(2, x)), batch[:, 1:])

    return start, loss, windows(WINDOW + 1, batch=3)


TASKS["transformer"] = partial(_transformer, True)
TASKS["transformer_plain"] = partial(_transformer, False)
