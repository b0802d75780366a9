"""The list of results, found by their numbers."""

from stablestep.errors import InvalidInput, nearest
from stablestep.theorem import b1, b2, b3, b5, b8, b9, t41, t42, t43
from stablestep.theorem.constants import Constants
from stablestep.theorem.result import Result

_RESULTS: tuple[Result, ...] = tuple(module.RESULT for module in (t41, t42, t43, b1, b2, b3, b5, b8, b9))


def results() -> tuple[Result, ...]:
    """All results, in the order of P.

    >>> [result.name for result in results()]
    ['4.1', '4.2', '4.3', 'B.1', 'B.2', 'B.3', 'B.5', 'B.8', 'B.9']
    """
    return _RESULTS


def result(name: str) -> Result:
    """The result with this number in P, or "S2 …" for its number in the earlier version.

    Raises:
        InvalidInput: for an unknown number, with the nearest known one.

    >>> result("S2 4.2").name
    'B.5'
    """
    for candidate in _RESULTS:
        if name == candidate.name or name in candidate.aliases:
            return candidate
    known = [known for candidate in _RESULTS for known in (candidate.name, *candidate.aliases)]
    raise InvalidInput(f'There is no result "{name}". {nearest(name, known)}')


def step_limit(
    name: str, c: Constants, gradient_norm: float | None = None, epsilon: float | None = None, **options
) -> float:
    """The largest step ηη_t that the result allows at this gradient norm (pathwise; ∞ if it asks for nothing).

    Args:
        gradient_norm: ‖∇f(X_t)‖ of the path itself. The papers print E‖∇f(X_t)‖, with which the theorems are false. Signs need none.
        epsilon: ε in (0, 1), of the results on unbiased messages.
        form, unit, young, radius: see `theorem.Variant`.

    Raises:
        InvalidInput: outside the result's hypotheses, saying which one fails and what would satisfy it.

    >>> c = Constants(L0=1, L1=0.5, dim=10, omega=[4, 8], sigma0_sq=[0.1, 0.2], sigma1_sq=[0.01, 0.02])
    >>> round(step_limit("4.2", c, gradient_norm=2.0, epsilon=0.5), 13)
    0.0831600831601
    >>> signs = Constants(L0=1, L1=2, dim=4, count=2, nu=1, scale_max=[1, 3])
    >>> round(step_limit("4.3", signs, form="printed"), 10), step_limit("4.3", signs)
    (0.1296615099, 0.25)
    """
    return result(name).step_limit(c, gradient_norm, epsilon, **options)


def bound(name: str, c: Constants, *, eta: float, phi1: float, phi2: float, **options) -> float:
    """The right-hand side of the result, for a schedule that does not depend on the path.

    Args:
        initial_gap: S0 = f(X0) − f*; by default that of the constants.
        phi1, phi2: ∫η_s ds and ∫η_s² ds over [0, t]; `schedule.phi(order, t)` gives them.
        epsilon: ε in (0, 1), of the results on unbiased messages.
        form, unit, young, radius: see `theorem.Variant`.

    Raises:
        InvalidInput: outside the result's hypotheses, or where the bound's denominator is not positive.

    >>> c = Constants(L0=1, L1=0.5, dim=10, omega=[4, 8], sigma0_sq=[0.1, 0.2], sigma1_sq=[0.01, 0.02])
    >>> phi1, phi2 = ((101**0.4 - 1) / 0.4, (1 - 101**-0.2) / 0.2)
    >>> round(bound("4.2", c, initial_gap=3.0, eta=0.1, epsilon=0.5, phi1=phi1, phi2=phi2), 10)
    0.6447610802
    """
    return result(name).bound(c, eta=eta, phi1=phi1, phi2=phi2, **options)


def density(name: str, c: Constants, *, eta: float, eta_t, phi1: float, phi2: float, **options):
    """The density of the result's random time t̂ on [0, t], where the schedule is `eta_t`: η_s/φ¹, for signs with a second-order term.

    >>> float(density("4.2", Constants(L0=1, L1=1, dim=1), eta=0.1, eta_t=0.5, phi1=10.0, phi2=5.0))
    0.05
    """
    return result(name).density(c, eta, eta_t, phi1, phi2, **options)
