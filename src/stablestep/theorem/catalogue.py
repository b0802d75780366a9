"""The list of results, found by listing this folder: a file that holds a RESULT is one."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from stablestep.errors import InvalidInput, instance, is_number, nearest, require, shown
from stablestep.theorem.constants import EXAMPLE, Constants
from stablestep.theorem.result import Result


@cache
def results() -> tuple[Result, ...]:
    """All results, in the order of P, then those on memory and on discrete time.

    >>> [result.name for result in results()][:4]
    ['4.1', '4.2', '4.3', 'B.1']
    """
    room = import_module(__name__.rpartition(".")[0])
    modules = [import_module(f"{room.__name__}.{found.name}") for found in iter_modules(room.__path__)]
    return tuple(
        sorted((module.RESULT for module in modules if hasattr(module, "RESULT")), key=lambda found: found.name)
    )


def result(name: str) -> Result:
    """The result with this number in P, "S2 …" for its number in the earlier version, or a name such as "discrete.sign".

    Raises:
        InvalidInput: for an unknown number, with the nearest known one.

    >>> result("S2 4.2").name
    'B.5'
    """
    for candidate in results():
        if isinstance(name, str) and name in (candidate.name, *candidate.aliases):
            return candidate
    require(not is_number(name), f'There is no result {name}, as results have texts for names; write "{name}".')
    known = [known for candidate in results() for known in (candidate.name, *candidate.aliases)]
    raise InvalidInput(f"There is no result {shown(str(name))}. {nearest(str(name), known)}")


def _checked(c: Constants) -> Constants:
    return instance("c", c, Constants, EXAMPLE)


def step_limit(
    name: str, c: Constants, gradient_norm: float | None = None, epsilon: float | None = None, **options
) -> float:
    """The largest step ηη_t that the result allows at this gradient norm (pathwise; ∞ if it asks for nothing).

    Args:
        gradient_norm: ‖∇f(X_t)‖ of the path itself. The papers print E‖∇f(X_t)‖, with which the theorems are false. Signs, normalized
            and clipped steps need none.
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
    return result(name).step_limit(_checked(c), gradient_norm, epsilon, **options)


def bound(name: str, c: Constants, *, eta=None, phi1=None, phi2=None, steps=None, **options) -> float:
    """The right-hand side of the result, for a schedule that does not depend on the path.

    The step limit must hold on each path. What these numbers disprove raises: φ²/φ¹ is a mean of η_t, so one step is at least ηφ²/φ¹, and
    no path's limit exceeds that at ‖∇f‖ = 0. What they leave open, where L1 > 0, is for `step_limit` along the path. A printed form is
    the bound under its own printed limit.

    Args:
        initial_gap: S0 = f(X0) − f*; by default that of the constants.
        eta, phi1, phi2: of an SDE: η, ∫η_s ds and ∫η_s² ds over [0, t]; `schedule.phi(order, t)` gives them.
        eta, steps: of a result in discrete time: η and the number of steps K; or `steps` alone, a list of the steps ηη_t themselves.
        epsilon: ε in (0, 1), of the results on unbiased messages.
        initial_error: of the normalized results with a memory, how wrong it is at the start (each says what is meant).
        form, unit, young, radius: see `theorem.Variant`.

    Raises:
        InvalidInput: outside the result's hypotheses, where the schedule's mean step exceeds its step limit, or where a bracket of a
            discrete result is not positive, with the largest step.

    >>> c = Constants(L0=1, L1=0.5, dim=10, omega=[4, 8], sigma0_sq=[0.1, 0.2], sigma1_sq=[0.01, 0.02])
    >>> phi1, phi2 = ((101**0.4 - 1) / 0.4, (1 - 101**-0.2) / 0.2)
    >>> round(bound("4.2", c, initial_gap=3.0, eta=0.1, epsilon=0.5, phi1=phi1, phi2=phi2), 10)
    0.6447610802
    >>> bound("discrete.normalized", Constants(L0=1, L1=0, dim=3, initial_gap=2.0), eta=0.1, steps=100)
    0.25
    """
    found = result(name)
    return found.bound(_checked(c), **found.times(eta, phi1, phi2, steps), **options)


def density(name: str, c: Constants, *, eta=None, eta_t=None, phi1=None, phi2=None, steps=None, **options):
    """The density of the result's random time t̂ on [0, t], where the schedule is `eta_t`: η_s/φ¹, for signs with a second-order term.

    In discrete time, the probability of each of the iterations `steps` (of every one, where they are equal).

    Raises:
        InvalidInput: outside the result's hypotheses, or where a step exceeds every step limit that it has.

    >>> float(density("4.2", Constants(L0=1, L1=1, dim=1), eta=0.1, eta_t=0.5, phi1=10.0, phi2=5.0))
    0.05
    """
    found = result(name)
    return found.density(_checked(c), eta_t=eta_t, **found.times(eta, phi1, phi2, steps), **options)
