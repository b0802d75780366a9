"""Layers as functions of their parameters, which are dictionaries of arrays."""

import jax
import jax.numpy as jnp
import numpy as np


def dense(key, inputs: int, outputs: int, gain: float = 1.0) -> dict:
    """Weights of a linear map with bias."""
    return {
        "w": gain / np.sqrt(inputs) * jax.random.normal(key, (inputs, outputs)),
        "b": jnp.zeros(outputs),
    }


def linear(layer: dict, x):
    return x @ layer["w"] + layer["b"]


def scale(width: int) -> dict:
    """Of a normalization."""
    return {"gain": jnp.ones(width), "shift": jnp.zeros(width)}


def normed(layer: dict, x):
    """Layer normalization."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5) * layer["gain"] + layer["shift"]


def perceptron(key, widths: tuple[int, ...], gain: float = 1.0, norm: bool = False) -> dict:
    """Layers between these widths."""
    keys = jax.random.split(key, len(widths) - 1)
    layers = [dense(key, inputs, outputs, gain) for key, inputs, outputs in zip(keys, widths[:-1], widths[1:])]
    return {"layers": layers, "norms": [scale(width) for width in widths[1:-1]] if norm else []}


def through(net: dict, x, activation):
    """The outputs of a perceptron."""
    *hidden, last = net["layers"]
    for number, layer in enumerate(hidden):
        x = linear(layer, x)
        x = activation(normed(net["norms"][number], x) if net["norms"] else x)
    return linear(last, x)


def patches(images):
    """3×3 neighbourhoods [n, h, w, 9c] of images [n, h, w, c]: a convolution is then a product, which is quick for many weights at once."""
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, w = images.shape[1:3]
    return jnp.concatenate([padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], -1)


def pooled(images):
    """Means of 2×2 pixels."""
    n, h, w, c = images.shape
    return images.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))


def attention(layer: dict, x, heads: int):
    """Causal self-attention of x [n, t, width]."""
    n, t, width = x.shape
    query, key, value = jnp.moveaxis(linear(layer["attend"], x).reshape(n, t, 3, heads, width // heads), 2, 0)
    scores = jnp.einsum("nthc,nshc->nhts", query, key) / np.sqrt(width // heads)
    weights = jax.nn.softmax(jnp.where(np.tri(t, dtype=bool), scores, -1e9), -1)
    return linear(layer["project"], jnp.einsum("nhts,nshc->nthc", weights, value).reshape(n, t, width))


def cross_entropy(logits, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1).mean()
