"""Problems a user writes: any JAX function, or a mean of one over data."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import wadler_lindig as wl
from jaxtyping import PyTree

from stablestep.errors import InvalidInput, first_line, require, shown, whole
from stablestep.problem.base import (
    Problem,
    Scalar,
    SumProblem,
    Vector,
    cast_like,
    checked_L1,
    checked_minimum,
)


class Function(Problem):
    """f(x) = any function of a vector [dim] written with jax.numpy; derivatives by automatic differentiation.

    `minimum` is the infimum of f if you know it. The smoothness of an arbitrary function is unknown, so `smoothness`
    raises, unless you give `smoothness`, a function L1 -> L0 that is valid for every L1 > `smallest_L1`.
    Raises `InvalidInput` if f cannot be traced on a vector [dim] or does not return one floating-point number.

    >>> rosenbrock = Function(lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2, dim=2, minimum=0.0)
    >>> rosenbrock.gradient(jnp.zeros(2)).tolist(), rosenbrock.has_smoothness
    ([-2.0, 0.0], False)
    >>> Function(jnp.sum, dim=2, smoothness=lambda L1: 0.0).smoothness(L1=0)
    0.0
    """

    stored: ClassVar[dict[str, str]] = {
        "f": "function",
        "minimum": "known_minimum",
        "smoothness": "curve",
        "smallest_L1": "known_smallest_L1",
    }
    function: Callable
    dim: int = eqx.field(static=True)
    known_minimum: float | None = eqx.field(static=True)
    curve: Callable[[float], float] | None = eqx.field(static=True)
    known_smallest_L1: float = eqx.field(static=True)

    def __init__(
        self,
        f: Callable,
        dim: int,
        minimum: float | None = None,
        smoothness: Callable[[float], float] | None = None,
        smallest_L1: float = 0.0,
    ):
        _require_function("Function", f)
        self.dim = whole("Function: dim", dim)
        _require_scalar("Function", "f(x)", f, _vector(self.dim))
        self.function = as_module(f)
        self.known_minimum = checked_minimum("Function", minimum)
        known = smoothness is None or callable(smoothness)
        require(known, f"Function: smoothness is {shown(smoothness)}, but must be a function L1 -> L0.")
        self.curve = smoothness
        self.known_smallest_L1 = checked_L1("Function", smallest_L1)

    def value(self, x: Vector) -> Scalar:
        return jnp.asarray(self.function(x), x.dtype)

    @property
    def minimum(self) -> float | None:
        return self.known_minimum

    @property
    def stated_minimum(self) -> float | None:
        return self.known_minimum

    @property
    def smallest_L1(self) -> float:
        return self.known_smallest_L1

    def smoothness(self, L1: float) -> float:
        if self.curve is None:
            return Problem.smoothness(self, L1)
        L1, least = checked_L1("Function", L1), self.known_smallest_L1
        require(
            least <= L1,
            f"Function: L1 is {L1:g}, but must be at least smallest_L1 = {least:g}, where your curve begins.",
        )
        return _read_curve(self.curve, L1)


class FiniteSum(SumProblem):
    """f(x) = (1/n) Σᵢ loss(x, dataᵢ), the training loss of any model, with `loss` written with jax.numpy.

    `data` is an array, or a tuple or dict of arrays, whose leading axes all have length n; `loss` gets one entry of it.
    `minimum` is the infimum of f if you know it. The smoothness is unknown, so `smoothness` raises.
    Raises `InvalidInput` if leading axes differ, data are not finite, or `loss` does not return one number.

    >>> data = {"a": jnp.array([1.0, 3.0]), "y": jnp.array([1.0, 1.0])}
    >>> problem = FiniteSum(lambda x, datum: (x[0] * datum["a"] - datum["y"]) ** 2 / 2, data, dim=1)
    >>> problem.size, problem.term_gradients(jnp.zeros(1)).tolist()
    (2, [[-1.0], [-3.0]])
    """

    stored: ClassVar[dict[str, str]] = {"f": "function", "minimum": "known_minimum"}
    function: Callable
    data: PyTree
    dim: int = eqx.field(static=True)
    known_minimum: float | None = eqx.field(static=True)

    def __init__(self, f: Callable, data: PyTree, dim: int, minimum: float | None = None):
        _require_function("FiniteSum", f)
        self.dim = whole("FiniteSum: dim", dim)
        self.data = jax.tree.map(np.asarray, data)
        _require_data(self.data)
        x = _vector(self.dim)
        _require_scalar("FiniteSum", "loss(x, datum)", f, x, _one_datum(x, self.data))
        self.function = as_module(f)
        self.known_minimum = checked_minimum("FiniteSum", minimum)

    def loss(self, x: Vector, datum: PyTree) -> Scalar:
        return jnp.asarray(self.function(x, datum), x.dtype)

    @property
    def minimum(self) -> float | None:
        return self.known_minimum

    @property
    def stated_minimum(self) -> float | None:
        return self.known_minimum


class Plain(eqx.Module):
    """A Python function as a pytree without leaves, so that a problem holding it passes through jit and vmap."""

    function: Callable = eqx.field(static=True)

    def __call__(self, *arguments):
        return self.function(*arguments)

    def __pdoc__(self, **settings: Any) -> wl.AbstractDoc:
        return wl.pdoc(self.function, **settings)


def as_module(function: Any) -> Any:
    """The function itself if it is a pytree with its own parameters (an equinox module), else wrapped as `Plain`."""
    return function if isinstance(function, eqx.Module) else Plain(function)


def _read_curve(curve: Callable[[float], float], L1: float) -> float:
    try:
        L0 = float(curve(L1))
    except ZeroDivisionError:
        L0 = math.inf
    require(
        0 <= L0 < math.inf,
        f"Function: your smoothness curve gives L0 = {L0} at L1 = {L1}, but must give a finite L0 of at least 0; "
        "choose an L1 for which a pair exists.",
    )
    return L0


def _one_datum(x: jax.ShapeDtypeStruct, data: PyTree) -> PyTree:
    """The shapes of one entry of data, in the precision in which `loss` will see it."""
    return jax.eval_shape(lambda: jax.tree.map(lambda leaf: leaf[0], cast_like(x, data)))


def _vector(dim: int) -> jax.ShapeDtypeStruct:
    return jax.eval_shape(lambda: jnp.zeros(dim))


def _require_function(name: str, function: Any) -> None:
    require(callable(function), f"{name}: f is {shown(function)}, but must be a function written with jax.numpy.")


def _require_scalar(name: str, call: str, function: Callable, *arguments) -> None:
    try:
        out = jax.eval_shape(function, *arguments)
    except Exception as error:
        raise InvalidInput(
            f"{name}: {call} failed on a vector of {arguments[0].shape[0]} entries with "
            f"{type(error).__name__} ({first_line(error)}); "
            "write it with jax.numpy, for vectors of that length."
        ) from error
    shape, dtype = getattr(out, "shape", None), getattr(out, "dtype", None)
    require(
        shape == () and dtype is not None and jnp.issubdtype(dtype, jnp.floating),
        f"{name}: {call} has shape {shape} and type {dtype}, but must be one floating-point number; "
        "reduce it, for example with jnp.sum or jnp.mean.",
    )


def _require_data(data: PyTree) -> None:
    leaves = jax.tree.leaves(data)
    lengths = {leaf.shape[0] if leaf.ndim else None for leaf in leaves}
    shapes = sorted({leaf.shape for leaf in leaves})
    require(
        len(lengths) == 1 and not lengths & {None, 0},
        f"FiniteSum: the arrays of data have shapes {shapes}, but must have the same leading axis of length n >= 1; "
        "give arrays (not lists) with one entry per data point in each.",
    )
    for leaf in leaves:
        bad = int(np.sum(~np.isfinite(leaf))) if np.issubdtype(leaf.dtype, np.floating) else 0
        require(
            bad == 0,
            f"FiniteSum: {bad} entries of data are NaN or infinite, but must be finite; remove or impute them.",
        )
