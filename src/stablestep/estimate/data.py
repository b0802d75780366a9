"""The data of a training run as a user has them, a pytree of parameters and a list of batches, as problems of a vector."""

from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from stablestep.errors import InvalidInput, first_line, listed, require, shown
from stablestep.problem import FiniteSum

Vector = Float[Array, " d"]
LEAST = 8  # batches


def problems_of(
    loss: Callable, params: PyTree, batches: Iterable[PyTree], clients: Sequence | None
) -> tuple[Vector, list[FiniteSum]]:
    """The start, and what each client minimizes; without clients there is one.

    Raises:
        InvalidInput: if params are no arrays of floats, batches are too few or of different shapes, the loss is no function of them that
            gives one number, or clients have unlike numbers of batches.

    >>> x0, (whole,) = problems_of(lambda w, x: jnp.sum((w["a"] - x) ** 2), {"a": np.ones(2)}, [np.zeros(2)] * 8, None)
    >>> x0.shape, float(whole.value(x0))
    ((2,), 2.0)
    """
    x0, unravel = _raveled(params)
    pool = _pool(batches)
    _check_loss(loss, params, pool[0])
    parts = _parts(clients, len(pool))
    return x0, [_problem(loss, unravel, [pool[place] for place in part], x0.size) for part in parts]


def _raveled(params: PyTree) -> tuple[Vector, Callable[[Vector], PyTree]]:
    """All numbers as one vector, and the way back in whatever precision."""
    leaves, shape = jax.tree.flatten(params)
    fits = bool(leaves) and all(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves)
    require(
        fits, f"params is {shown(params)}, but must be a pytree of arrays of floats; leave out what is not trained."
    )
    sizes = np.cumsum([np.size(leaf) for leaf in leaves])[:-1]

    def unravel(x: Vector) -> PyTree:
        pieces = [jnp.reshape(piece, np.shape(leaf)) for piece, leaf in zip(jnp.split(x, sizes), leaves, strict=True)]
        return jax.tree.unflatten(shape, pieces)

    return jnp.concatenate([jnp.ravel(jnp.asarray(leaf)) for leaf in leaves]), unravel


def _pool(batches: Iterable[PyTree]) -> list[PyTree]:
    require(
        isinstance(batches, Iterable), f"batches is {shown(batches)}, but must be a list of at least {LEAST} batches."
    )
    pool = [jax.tree.map(np.asarray, batch) for batch in batches]
    require(
        len(pool) >= LEAST,
        f"batches has {len(pool)} of them, but at least {LEAST} are needed to see their noise; give more.",
    )
    kinds = {str(jax.tree.map(np.shape, batch)) for batch in pool}
    require(
        len(kinds) == 1,
        f"batches have different shapes, {' and '.join(sorted(kinds)[:2])}; leave out the one that is not full.",
    )
    return pool


def _check_loss(loss: Callable, params: PyTree, batch: PyTree) -> None:
    require(
        callable(loss), f"loss is {shown(loss)}, but must be a function loss(params, batch) written with jax.numpy."
    )
    try:
        out = jax.eval_shape(loss, params, batch)
    except Exception as error:
        raise InvalidInput(
            f"loss(params, batch) failed with {type(error).__name__} ({first_line(error)}); write it with jax.numpy, for "
            "batches such as the first one."
        ) from error
    fits = getattr(out, "shape", None) == () and jnp.issubdtype(out.dtype, jnp.floating)
    require(
        fits,
        f"loss(params, batch) gives {shown(out)}, but must give one floating-point number; reduce it with jnp.mean.",
    )


def _parts(clients: Sequence | None, count: int) -> list[list[int]]:
    """The batches of each client."""
    if clients is None:
        return [list(range(count))]
    labels = listed("clients", clients, "first")
    require(
        len(labels) == count,
        f"clients has {len(labels)} labels, but there are {count} batches; give the client of each.",
    )
    parts = [[place for place, own in enumerate(labels) if own == label] for label in dict.fromkeys(labels)]
    sizes = {len(part) for part in parts}
    require(
        len(parts) >= 2 and len(sizes) == 1 and min(sizes) >= 2,
        f"clients have {sorted(map(len, parts))} batches, but two clients or more must have as many each, at least 2; leave some out.",
    )
    return parts


def _problem(loss: Callable, unravel: Callable, pool: list[PyTree], dim: int) -> FiniteSum:
    data = jax.tree.map(lambda *leaves: np.stack(leaves), *pool)
    return FiniteSum(lambda x, batch: loss(unravel(x), batch), data, dim)
