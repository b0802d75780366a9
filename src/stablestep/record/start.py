"""Where runs start and in which precision: x0 as a number, a vector, or a function of a key."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stablestep.errors import InvalidInput, first_line, numbers, one_of, require, shown, whole, within
from stablestep.norms import norm
from stablestep.problem import Problem
from stablestep.problem.base import require_above_minimum
from stablestep.record.chunks import within_memory
from stablestep.stream import Family, Stream


@contextmanager
def working_dtype(name: str) -> Iterator[np.dtype]:
    """The dtype to compute in; float64 is switched on only inside.

    >>> with working_dtype("float64") as dtype:
    ...     jnp.zeros(1, dtype).dtype
    dtype('float64')
    """
    one_of("dtype", name, ("float32", "float64"))
    if jax.dtypes.canonicalize_dtype(name) != name:
        with jax.enable_x64(True):
            yield np.dtype(name)
    else:
        yield np.dtype(name)


def cast(tree, dtype):
    """The module with every number as an array: floats in `dtype`, integers as they are; so that new values do not recompile."""

    def convert(leaf):
        if not isinstance(leaf, (bool, int, float, np.ndarray, np.generic, jax.Array)):
            raise InvalidInput(f"{leaf!r} cannot be part of a simulated setup; numbers and arrays can.")
        kind = jnp.result_type(leaf)
        if jnp.issubdtype(kind, jnp.floating):
            kind = dtype
        elif jnp.issubdtype(kind, jnp.signedinteger):
            kind = np.dtype(np.int32)
        if isinstance(leaf, jax.Array):
            return jnp.asarray(leaf, kind)
        # By NumPy, because JAX compiles a kernel for every conversion.
        return jax.device_put(_fitting(leaf, kind) if jnp.issubdtype(kind, jnp.floating) else np.asarray(leaf, kind))

    return jax.tree.map(convert, tree)


def _fitting(leaf, dtype) -> np.ndarray:
    """The number or array in `dtype`, in which nothing finite may become infinite."""
    with np.errstate(over="ignore"):
        made = np.asarray(leaf).astype(dtype)
    lost = np.isinf(made) & np.isfinite(leaf)
    if np.any(lost):
        value, name = float(np.asarray(leaf)[lost].flat[0]), np.dtype(dtype).name
        raise InvalidInput(f'the setup holds {value:g}, which no {name} can; choose another scale, or dtype="float64".')
    return made


def start(x0, problem: Problem, runs: int, seed: int, dtype) -> Float[Array, "runs d"]:
    """The runs' first points.

    Raises:
        InvalidInput: if runs < 1, x0 has the wrong shape, or f or its gradient is not finite there, or f is below its stated minimum.
    """
    runs = whole("runs", runs, most=2**32 - 1)  # a run's number is a word
    width = np.dtype(dtype).itemsize * problem.dim
    within_memory(3 * runs * width, f"the first points of {runs} runs in {problem.dim} coordinates", "fewer runs")
    points = _drawn(x0, problem.dim, runs, seed, dtype) if callable(x0) else _given(x0, problem.dim, runs, dtype)
    for point in np.asarray(points)[: 16 if callable(x0) else 1]:
        value, gradient = look_at(problem, point)[:2]
        for name, found in (("f", value), ("the gradient of f", gradient)):
            finite = bool(np.all(np.isfinite(found)))
            require(finite, f"{name} is not finite at x0 in {dtype}; start where f is defined, or check the function.")
        require_above_minimum(problem, float(value))
    return points


@eqx.filter_jit
def look_at(problem: Problem, point) -> tuple[Array, Array, Array]:
    """f, its gradient and the norm of that at a point [d]: one kernel for all that look at a start."""
    gradient = problem.gradient(point)
    return problem.value(point), gradient, norm(gradient)


def _given(x0, dim: int, runs: int, dtype):
    try:
        with np.errstate(over="ignore"):  # what is too large for the dtype is refused as not finite
            point = numbers("x0", x0).astype(dtype)
    except InvalidInput as error:
        raise InvalidInput(
            f"x0 is {shown(x0)}, but must be a number, a vector of length {dim}, or a function of a key."
        ) from error
    require(
        point.shape in ((), (dim,)), f"x0 has shape {point.shape}, but must be a number or a vector of length {dim}."
    )
    require(bool(np.all(np.isfinite(point))), "x0 has entries that are not finite; start at a point.")
    return jax.device_put(np.broadcast_to(point, (runs, dim)))


def _drawn(x0: Callable, dim: int, runs: int, seed: int, dtype):
    root = Stream.seed(seed)
    keys = jax.vmap(lambda run: root.child(run, Family.START).key())(jnp.arange(runs, dtype=jnp.uint32))
    _check_draw(x0, dim)
    points = jax.vmap(x0)(keys).astype(dtype)
    return jnp.broadcast_to(points.reshape(runs, -1), (runs, dim))


def _check_draw(x0: Callable, dim: int) -> None:
    try:
        drawn = jax.eval_shape(lambda key: jnp.asarray(x0(key)), jax.random.key(0))
    except Exception as error:
        raise InvalidInput(
            f"x0(key) failed with {type(error).__name__} ({first_line(error)}); give a function that draws a point of a JAX key, such as "
            "lambda key: jax.random.normal(key, (3,))."
        ) from error
    fits = drawn.shape in ((), (dim,))
    require(fits, f"x0(key) has shape {drawn.shape}, but must be a number or a vector of length {dim}.")
    real = jnp.issubdtype(drawn.dtype, jnp.floating) or jnp.issubdtype(drawn.dtype, jnp.integer)
    require(real, f"x0(key) holds {drawn.dtype} values, but must hold real numbers.")


def ball_radius(radius, points: Float[Array, "runs d"]) -> float:
    """The radius of the ball whose leaving is divergence: as given, or 10⁴ max(1, ‖x0‖).

    Raises:
        InvalidInput: if all points lie outside.
    """
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(np.asarray(points, np.float64), axis=1)
    if radius is None:
        return 1e4 * max(1.0, float(np.max(norms)))
    least = float(np.min(norms))
    require(
        within("radius", radius, 0, 1e18) >= least,
        f"radius is {radius}, but ‖x0‖ is {least:g}, so all runs had diverged before their first step; give a larger one.",
    )
    return float(radius)


def describe_start(x0) -> str:
    """A start in a few words."""
    if callable(x0):
        return getattr(x0, "__name__", "function of a key")
    return str(x0) if np.size(x0) <= 8 else f"vector of {np.size(x0)} numbers"
