"""Problems made of data: logistic regression and phase retrieval."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from stablestep.errors import Numbers, at_least_zero, numbers, require
from stablestep.problem.base import (
    Scalar,
    SumProblem,
    Vector,
    cast_like,
    checked_L1,
    checked_minimum,
    require_finite,
    require_norm,
)

LARGEST = 1e70  # whose fourth powers a float holds, and sums of many


def _require_data(name: str, features: np.ndarray, what: str, targets: np.ndarray) -> None:
    """Raise unless features [n, d] and targets [n] are finite, agree in length and leave room for powers."""
    require(
        features.ndim == 2 and features.size > 0,
        f"{name}: the features have shape {features.shape}, but must be a non-empty (n, d) array with one row per datum.",
    )
    require(
        targets.shape == features.shape[:1],
        f"{name}: the {what} have shape {targets.shape}, but must be {features.shape[0]}, one for each row of the features.",
    )
    require_finite(name, "the array of features", features)
    require_finite(name, f"the array of {what}", targets)
    largest = max(np.max(np.abs(features)), np.max(np.abs(targets)))
    require(
        largest <= LARGEST,
        f"{name}: the data reach {largest:.3g}, but at most {LARGEST:g} is allowed, since curvatures are made of powers of them; "
        "measure them in another unit.",
    )


def _signs(labels: Numbers) -> np.ndarray:
    """Labels ±1; 0/1 become ±1."""
    yes_or_no = np.asarray(labels).dtype == bool
    given = np.array(labels, np.float64) if yes_or_no else numbers("Logistic: the array of labels", labels)
    found = set(np.unique(given).tolist())
    require(
        found <= {-1.0, 1.0} or found <= {0.0, 1.0},
        f"Logistic: the labels are {sorted(found)[:5]}, but must be -1 and 1 (or 0 and 1); map the two classes to -1 and 1.",
    )
    return np.where(given > 0, 1.0, -1.0)


class Logistic(SumProblem):
    """f(x) = (1/n) Σᵢ log(1 + exp(-yᵢ aᵢᵀx)) + (l2/2)‖x‖² with features a [n, d] and labels y [n] in {-1, 1}.

    Labels 0 and 1 are accepted as -1 and 1. `smoothness(L1)` = λmax(AᵀA)/(4n) + l2 for every L1 ≥ 0: minimal for
    L1 = 0, merely valid for larger L1. The infimum is not known in closed form, so `minimum` is None.
    Raises `InvalidInput` for other labels, lengths that differ, data that are not finite, l2 < 0.

    >>> problem = Logistic([[1.0], [3.0]], labels=[1, -1], l2=0.5)
    >>> round(float(problem.value(jnp.zeros(1))), 4), problem.gradient(jnp.zeros(1)).tolist()
    (0.6931, [0.5])
    >>> round(problem.smoothness(L1=0), 6)
    1.75
    """

    features: Float[np.ndarray, "n d"]
    labels: Float[np.ndarray, " n"]
    l2: float

    def __init__(self, features: Numbers, labels: Numbers, l2: float = 0.0):
        self.features = numbers("Logistic: the array of features", features)
        self.labels = _signs(labels)
        self.l2 = at_least_zero("Logistic: l2", l2)
        _require_data("Logistic", self.features, "labels", self.labels)

    @property
    def dim(self) -> int:
        """d."""
        return self.features.shape[-1]

    @property
    def data(self):
        """(features, labels)."""
        return self.features, self.labels

    def loss(self, x: Vector, datum) -> Scalar:
        feature, label = datum
        return jax.nn.softplus(-label * jnp.vdot(feature, x)) + self.l2 / 2 * jnp.sum(x**2)

    def hessian_product(self, x: Vector, v: Vector) -> Vector:
        features, labels = cast_like(x, self.data)
        margin = labels * (features @ x)
        curvature = jax.nn.sigmoid(margin) * jax.nn.sigmoid(-margin)
        return (curvature * (features @ v)) @ features / self.size + self.l2 * v

    def _mean_gradient(self, x, data):
        features, labels = data
        slope = -labels * jax.nn.sigmoid(-labels * (features @ x))
        return slope @ features / len(labels) + self.l2 * x

    def smoothness(self, L1: float) -> float:
        checked_L1("Logistic", L1)
        return float(np.linalg.norm(np.asarray(self.features), 2) ** 2 / (4 * self.size) + self.l2)

    def best_L1(self, gradient_norm: float) -> float:
        """0: the Hessian is bounded and the known L0 does not fall with L1."""
        require_norm(gradient_norm)
        return 0.0


class PhaseRetrieval(SumProblem):
    """f(x) = (1/n) Σᵢ ((aᵢᵀx)² - yᵢ)²/4: recover x, up to its sign, from intensities y [n] and features a [n, d].

    `smoothness(L1)` is valid for L1 > 0 if the features have rank d, and minimal for d = n = 1 (where f is a
    `DoubleWell`): with λ = λmin(AᵀA/n), W = Σᵢ yᵢaᵢaᵢᵀ/n, Y² = Σᵢ yᵢ²/n, M² = maxᵢ‖aᵢ‖² λmax(AᵀA/n) and
    q² = Σᵢ (aᵢᵀx)⁴/n, the Cauchy-Schwarz inequality gives ‖∇²f‖ ≤ max(3qM - λmin(W), λmax(W)) and
    ‖∇f‖ ≥ √λ(q^(3/2) - Y q^(1/2)); L0 is the largest gap over q. Far from minimal in high dimension.
    The infimum is None unless you give `minimum` (0 for noiseless intensities).
    Raises `InvalidInput` for lengths that differ and data that are not finite; `smoothness` raises below rank d.

    >>> problem = PhaseRetrieval([[1.0, 0.0], [0.0, 2.0]], [1.0, 4.0], minimum=0.0)
    >>> float(problem.value(jnp.array([1.0, -1.0]))), float(problem.value(jnp.zeros(2)))
    (0.0, 2.125)
    >>> round(PhaseRetrieval([[1.0]], [1.0]).smoothness(L1=1), 6)
    5.079201
    """

    stored: ClassVar[dict[str, str]] = {"minimum": "known_minimum"}
    a: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, " n"]
    known_minimum: float | None = eqx.field(static=True)

    def __init__(self, a: Numbers, y: Numbers, minimum: float | None = None):
        self.a = numbers("PhaseRetrieval: the array of features", a)
        self.y = numbers("PhaseRetrieval: the array of intensities", y)
        self.known_minimum = checked_minimum("PhaseRetrieval", minimum)
        _require_data("PhaseRetrieval", self.a, "intensities", self.y)

    @property
    def dim(self) -> int:
        """d."""
        return self.a.shape[-1]

    @property
    def data(self):
        """(a, y)."""
        return self.a, self.y

    def loss(self, x: Vector, datum) -> Scalar:
        a, y = datum
        return (jnp.vdot(a, x) ** 2 - y) ** 2 / 4

    def _mean_gradient(self, x, data):
        a, y = data
        projection = a @ x
        return ((projection**2 - y) * projection) @ a / len(y)

    @property
    def minimum(self) -> float | None:
        return self.known_minimum

    @property
    def stated_minimum(self) -> float | None:
        return self.known_minimum

    def smoothness(self, L1: float) -> float:
        L1 = checked_L1("PhaseRetrieval", L1, above_zero=True)
        a, y = np.asarray(self.a, dtype=np.float64), np.asarray(self.y, dtype=np.float64)
        spread = np.linalg.eigvalsh(a.T @ a / len(y))
        require(
            spread[0] > 1e-12 * spread[-1],
            f"PhaseRetrieval: no (L0, L1) pair is known because the {len(y)} features do not span all {self.dim} "
            "coordinates; add features, or describe f as Function(f, dim, smoothness=...) with your own curve.",
        )
        weighted = np.linalg.eigvalsh((a.T * y) @ a / len(y))
        growth = math.sqrt(np.max(np.sum(a**2, axis=1)) * spread[-1])
        peak = _largest_gap(growth, math.sqrt(np.mean(y**2)), L1 * math.sqrt(spread[0]))
        return float(max(peak - weighted[0], weighted[-1]))


def _largest_gap(growth: float, level: float, slope: float) -> float:
    """max over u ≥ √level of 3·growth·u² - slope·(u³ - level·u), u = √q in the notation of `PhaseRetrieval`."""
    peak = (3 * growth + math.sqrt(9 * growth**2 + 3 * slope**2 * level)) / (3 * slope)
    excess = max(peak**2 - level, 0.0)
    return 3 * growth * (level + excess) - slope * peak * excess
