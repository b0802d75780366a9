"""(𝔅², ζ²): how far the gradients of clients with data of their own lie from their mean."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from stablestep.errors import InvalidInput, Numbers, require, shown
from stablestep.estimate.smoothness import smoothness
from stablestep.estimate.value import Estimate, numbers


@dataclass(frozen=True)
class Dissimilarity:
    """𝔅² and ζ²."""

    B2: Estimate
    zeta2: Estimate

    @property
    def pair(self) -> tuple[float, float]:
        """(𝔅², ζ²), as `theorem.Constants` takes it."""
        return self.B2.value, self.zeta2.value

    def __call__(self, gradient_sq):
        """𝔅²‖∇f‖² + ζ²."""
        return self.B2.value * np.asarray(gradient_sq) + self.zeta2.value


def dissimilarity(gradients, noise: Numbers = 0.0) -> Dissimilarity:
    """𝔅² ≥ 1 and ζ² ≥ 0 with (1/N) Σ‖∇f_i‖² ≤ 𝔅²‖∇f‖² + ζ² at every point, tightest at the mean ‖∇f‖² (theory2 section 6).

    The excess (1/N) Σ‖∇f_i − ∇f‖² is bounded by a line in ‖∇f‖², as curvatures are by `smoothness`: intervals say how much the line
    hangs on few points, and it is no bound for what was not seen. Clients of quadratics with one Hessian have 𝔅² = 1 exactly.

    Args:
        gradients: of every client at p ≥ 3 points of a run [p, n ≥ 2, d].
        noise: the total variance E‖g̃_i − ∇f_i‖² of one client's gradient, where it is not exact: a number, or one for each point [p].

    Raises:
        InvalidInput: for fewer points or clients, values that are not finite, or a negative variance.

    >>> points = np.array([[0.0], [1.0], [3.0]])
    >>> found = dissimilarity(points[:, None, :] - np.array([[-1.0], [1.0]]))
    >>> found.pair
    (1.0, 1.0)
    """
    each = _checked(gradients)
    points, clients, _ = each.shape
    variance = _variance(noise, points)
    large = float(np.max(np.abs(each))) or 1.0
    each, variance = each / large, variance / large**2
    mean = each.mean(axis=1)
    # What noise adds to the square of the mean, and to the spread about it.
    squares = np.maximum(0.0, np.sum(mean**2, axis=-1) - variance / clients)
    spread = np.mean(np.sum((each - mean[:, None, :]) ** 2, axis=-1), axis=1) - variance * (1 - 1 / clients)
    line = smoothness(squares, np.maximum(0.0, spread))
    return Dissimilarity(_moved(line.L1, 1.0, 1.0), _moved(line.L0, large**2, 0.0))


def _moved(found: Estimate, factor: float, offset: float) -> Estimate:
    value, low, high = (offset + factor * end for end in (found.value, found.low, found.high))
    return Estimate(value, low, high, found.covers)


def _checked(gradients) -> Float[np.ndarray, "p n d"]:
    each = numbers("gradients", gradients)
    fits = each.ndim == 3 and each.shape[0] >= 3 and each.shape[1] >= 2 and each.shape[2] >= 1
    require(
        fits,
        f"gradients has shape {each.shape}, but must be (points, clients, coordinates) with at least 3 points and 2 clients.",
    )
    require(
        bool(np.all(np.isfinite(each))),
        "gradients are not finite everywhere; leave points out at which a client diverged.",
    )
    return each


def _variance(noise, points: int) -> Float[np.ndarray, " p"]:
    variance = numbers("noise", noise)
    if variance.shape not in ((), (points,)) or not bool(np.all((variance >= 0) & np.isfinite(variance))):
        raise InvalidInput(
            f"noise is {shown(noise)}, but must be a variance of at least 0, or one for each of the {points} points."
        )
    return np.broadcast_to(variance, (points,))
