"""What every problem offers: f, its derivatives, its infimum and its curve of valid (L0, L1) pairs."""

import math
from abc import abstractmethod
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from stablestep.described import Described
from stablestep.errors import InvalidInput, at_least_zero, is_number, require, shown

Vector = Float[Array, " d"]
Scalar = Float[Array, ""]


class Problem(Described):
    """A function f to minimize, with what theorems need to know about it.

    A subclass gives `dim` and `value`; everything else has a default: derivatives by automatic differentiation,
    an unknown infimum and an unknown smoothness.

    >>> class Sine(Problem):
    ...     dim: int = eqx.field(static=True, default=1)
    ...     def value(self, x):
    ...         return jnp.sum(jnp.sin(x))
    >>> float(Sine().gradient(jnp.zeros(1))[0])
    1.0
    """

    dim: eqx.AbstractVar[int]

    @abstractmethod
    def value(self, x: Vector) -> Scalar:
        """f(x)."""

    def gradient(self, x: Vector) -> Vector:
        """∇f(x)."""
        return jax.grad(self.value)(x)

    def hessian_product(self, x: Vector, v: Vector) -> Vector:
        """∇²f(x) v."""
        return jax.jvp(self.gradient, (x,), (v,))[1]

    @property
    def minimum(self) -> float | None:
        """The infimum of f, or None where it is unknown or -∞."""
        return None

    @property
    def stated_minimum(self) -> float | None:
        """The infimum where the user stated it, so that a value may contradict it; else None."""
        return None

    @property
    def smallest_L1(self) -> float:
        """The infimum of the L1 for which a pair exists; it need not be attained (`Quartic`: 0, yet L1 = 0 fails)."""
        return 0.0

    @property
    def has_smoothness(self) -> bool:
        """Whether `smoothness` knows any pair."""
        return _or_infinity(self.smoothness, self.smallest_L1 + 1) < math.inf

    def smoothness(self, L1: float) -> float:
        """L0 such that ‖∇²f(x)‖₂ ≤ L0 + L1‖∇f(x)‖ for all x (P, Def. 3.1; spectral norm).

        It is the smallest such L0 unless the problem's own documentation says otherwise.

        Raises:
            InvalidInput: where no pair is known or none exists.
        """
        raise InvalidInput(
            f"{type(self).__name__}: no (L0, L1) pair is known (asked at L1={L1}); "
            "describe f as Function(f, dim, smoothness=...) with your own curve L1 -> L0, or give advise(…, constants=…) what "
            "estimate.survey measures."
        )

    def coordinate_curvature(self, gradient: np.ndarray) -> np.ndarray:
        """A bound on |∂²f/∂x_j²| wherever the gradient is `gradient`, for separable f: min over the coordinate's own pairs of L0 + L1|g_j|.

        Args:
            gradient: [d].

        Raises:
            InvalidInput: where f is not known to be separable (every f of one variable is), or has no known pair.
        """
        require(
            self.dim == 1,
            f"{type(self).__name__} is not known to be a sum of functions of one coordinate; "
            "coordinate-wise limits are known for Quadratic with eigenvalues, Quartic, EvenPower and Cosh.",
        )
        norm = max(float(np.abs(gradient[0])), np.finfo(float).tiny)
        best = self.best_L1(norm)
        return np.array([self.smoothness(best) + best * norm])

    def best_L1(self, gradient_norm: float) -> float:
        """The L1 that minimizes L0(L1) + L1·G, the bound on ‖∇²f‖ where ‖∇f‖ = G.

        Every pair of the curve is valid, so the best one for the gradient norm at hand may be chosen; for x⁴/4 it is L1 = 2 G^(-1/3),
        with L0 + L1·G = 3 G^(2/3).

        Args:
            gradient_norm: G.

        Raises:
            InvalidInput: if no pair is known or G is not positive.

        >>> from stablestep.problem import Cosh
        >>> Cosh(3, a=0.5).best_L1(gradient_norm=10.0)
        0.5
        """
        require_norm(gradient_norm)
        self.smoothness(self.smallest_L1 + 1)  # raises, with the reason, where no pair is known
        return _best_on_curve(self.smoothness, self.smallest_L1, gradient_norm)


class SumProblem(Problem):
    """A mean over data, f(x) = (1/n) Σᵢ loss(x, dataᵢ), whose terms can be sampled.

    A subclass gives `dim`, `data` (arrays with a common leading axis of length n) and `loss`.

    >>> from stablestep.problem import FiniteSum
    >>> mean = FiniteSum(lambda x, point: jnp.sum((x - point) ** 2) / 2, jnp.array([[0.0], [2.0]]), dim=1)
    >>> mean.size, mean.batch_gradient(jnp.zeros(1), jnp.array([1])).tolist()
    (2, [-2.0])
    """

    data: eqx.AbstractVar[PyTree]

    @abstractmethod
    def loss(self, x: Vector, datum: PyTree) -> Scalar:
        """The term of one datum (an entry of `data` along its leading axis)."""

    @property
    def size(self) -> int:
        """n, the number of terms."""
        return jax.tree.leaves(self.data)[0].shape[0]

    def value(self, x: Vector) -> Scalar:
        """f(x), the mean over all terms."""
        return self._mean_loss(x, cast_like(x, self.data))

    def gradient(self, x: Vector) -> Vector:
        """∇f(x), the mean over all terms."""
        return self._mean_gradient(x, cast_like(x, self.data))

    def batch_gradient(self, x: Vector, indices: Int[Array, " b"]) -> Vector:
        """The mean gradient [d] of some terms.

        Args:
            x: [d].
            indices: which terms: integers [b] in [0, n), repeats allowed.
        """
        batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[indices], self.data)
        return self._mean_gradient(x, cast_like(x, batch))

    def term_gradients(self, x: Vector) -> Float[Array, "size d"]:
        """The gradients of all terms, one a row."""
        return jax.vmap(jax.grad(self.loss), (None, 0))(x, cast_like(x, self.data))

    def _mean_loss(self, x, data):
        return jnp.mean(jax.vmap(self.loss, (None, 0))(x, data))

    def _mean_gradient(self, x, data):
        return jax.grad(self._mean_loss)(x, data)


def cast_like(x, tree):
    """The floating arrays of `tree` in the precision of x, so that data never promote the kernel's arithmetic."""

    def cast(leaf):
        return jnp.asarray(leaf, x.dtype) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else jnp.asarray(leaf)

    return jax.tree.map(cast, tree)


def require_finite(name: str, what: str, values: np.ndarray) -> None:
    """Raise if any entry is NaN or infinite, naming the first."""
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        where = tuple(int(i) for i in bad[0])
        raise InvalidInput(
            f"{name}: {what} has {values[where]} at index {where} ({len(bad)} such entries), but must be finite; "
            "remove or impute them."
        )


def checked_L1(name: str, L1: float, above_zero: bool = False) -> float:
    """L1 as a float; raises if it is negative, not finite, or 0 where no pair has L1 = 0."""
    found = at_least_zero(f"{name}: L1", L1)
    require(
        not above_zero or found > 0,
        f"{name}: L1 is 0, but must be greater than 0 because the Hessian is unbounded; give L1 > 0, such as 1.",
    )
    return found


def checked_minimum(name: str, minimum: float | None) -> float | None:
    """The user's infimum as a float; raises if it is not finite."""
    require(
        minimum is None or (is_number(minimum) and math.isfinite(minimum)),
        f"{name}: minimum is {shown(minimum)}, but must be a finite number; leave it out if the infimum is unknown or -∞.",
    )
    return None if minimum is None else float(minimum)


def require_above_minimum(problem: Problem, value: float) -> None:
    """Raise where a value of f lies below the infimum that the user stated, by more than rounding."""
    least = problem.stated_minimum
    require(
        least is None or value >= least - 1e-4 * max(1.0, abs(least)),
        f"f is {value:g} at x0, but the stated minimum of the {type(problem).__name__} is {least}; correct it, or leave it out.",
    )


def require_norm(gradient_norm: float) -> None:
    """Raise unless the gradient norm is positive and finite."""
    require(
        is_number(gradient_norm) and 0 < gradient_norm < math.inf,
        f"best_L1: gradient_norm is {shown(gradient_norm)}, but must be a finite number greater than 0; "
        "at a stationary point choose the L1 of a typical gradient instead.",
    )


def _or_infinity(curve: Callable[[float], float], L1: float) -> float:
    try:
        return float(curve(L1))
    except InvalidInput:
        return math.inf


def _best_on_curve(curve: Callable[[float], float], start: float, gradient_norm: float) -> float:
    """argmin of L0(L1) + L1·G over L1 ≥ start: a coarse scan over 24 decades, then a bounded search."""

    def bound(L1: float) -> float:
        return _or_infinity(curve, L1) + L1 * gradient_norm

    if _or_infinity(curve, start) <= _or_infinity(curve, start + 1e12):
        return start
    steps = np.linspace(-12, 12, 97)
    best = int(np.argmin([bound(start + 10.0**step) for step in steps]))
    limits = steps[max(best - 1, 0)], steps[min(best + 1, 96)]
    from scipy.optimize import minimize_scalar  # slow to load

    found = minimize_scalar(
        lambda step: bound(start + 10.0**step), bounds=limits, method="bounded", options={"xatol": 1e-10}
    )
    return min(start, start + 10.0**found.x, key=bound)
