"""The mean-square edge of a quadratic, exactly: E‖x_k‖² → a limit below it, → ∞ above it."""

from stablestep.errors import require
from stablestep.message.algebra import Dense
from stablestep.message.edges import edges
from stablestep.message.recursion import linear
from stablestep.stability.start_point import CriticalStep, StartPoint, never

LARGEST = 64
DEFINITION = "the largest step at which E‖x_k‖² stays bounded (mean-square edge)"


def moments(case: StartPoint) -> CriticalStep:
    """The smallest h at which the second moments of the method on a quadratic are no longer bounded, with memory or without.

    The spectral radius of S ↦ E F_b S F_bᵀ over masks and relative noise passes through 1 there (see `message.moments` for the methods);
    it can only lie at or below the edge of the first moments, which `details` names. For one coordinate, Bernoulli messages and
    A = ω + (1 + ω)σ1² it is 2/(λ(1 + A/N)), with heavy ball 2(1 + β)/(λ(1 + (A/N)(1 + β)/(1 − β))).

    Raises:
        InvalidInput: if f is not a positive definite Quadratic, second moments do not close, or a Hessian that is not diagonal has more
            than 64 coordinates.
    """
    method = linear(case.setup)
    require(
        method.algebra is not Dense or method.dim <= LARGEST,
        f"the edge of the moments takes at most {LARGEST} coordinates where the Hessian is not diagonal, but there are {method.dim}; "
        'use method="lyapunov".',
    )
    found = edges(method)
    details = {"first_moment": found.first_moment}
    if found.mean_square == 0:
        return never(0.0, "moments", DEFINITION, 1, **details)
    return CriticalStep(*[found.mean_square] * 3, "exact", "moments", DEFINITION, 1, details)
