"""The common form of the step limits of DSGD and DCSGD, and the list of results."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from stablestep.errors import InvalidInput, nearest, require
from stablestep.theorem import dcsgd_affine, dcsgd_bounded, dsgd
from stablestep.theorem.constants import Constants


@dataclass(frozen=True)
class Result:
    """A theorem of the form: if ηη_t ≤ 2ε / ((L0 + L1‖∇f(X_t)‖) R + L1 F) on each path, then

    E‖∇f(X_t̂)‖² ≤ (S0 + φ² η (L0 + L1) F / 2) / ((1 − ε) φ¹), where t̂ has density η_t/φ¹.

    `relative` is R, the growth of the message's second moment with ‖∇f‖², and `floor` is F, what is left of it at a stationary point.
    """

    name: str
    aliases: tuple[str, ...]
    reference: str
    check: Callable[[Constants], None]
    relative: Callable[[Constants], float]
    floor: Callable[[Constants], float]

    def step_limit(self, c: Constants, gradient_norm: float, epsilon: float) -> float:
        self._hypotheses(c, epsilon)
        require(gradient_norm >= 0, f"gradient_norm is {gradient_norm}, but must be at least 0.")
        denominator = (c.L0 + c.L1 * gradient_norm) * self.relative(c) + c.L1 * self.floor(c)
        return 2 * epsilon / denominator if denominator > 0 else math.inf

    def bound(self, c: Constants, initial_gap: float, eta: float, epsilon: float, phi1: float, phi2: float) -> float:
        self._hypotheses(c, epsilon)
        for name, value in (("initial_gap", initial_gap), ("phi2", phi2)):
            require(value >= 0, f"{name} is {value}, but must be at least 0.")
        for name, value in (("eta", eta), ("phi1", phi1)):
            require(value > 0, f"{name} is {value}, but must be greater than 0.")
        return (initial_gap + phi2 * eta * (c.L0 + c.L1) * self.floor(c) / 2) / ((1 - epsilon) * phi1)

    def _hypotheses(self, c: Constants, epsilon: float) -> None:
        require(0 < epsilon < 1, f"epsilon is {epsilon}, but must be between 0 and 1 (both excluded), such as 0.5.")
        self.check(c)


_RESULTS = tuple(
    Result(module.NAME, module.ALIASES, module.REFERENCE, module.check, module.relative, module.floor)
    for module in (dcsgd_affine, dcsgd_bounded, dsgd)
)


def results() -> tuple[Result, ...]:
    """All results, in the order of their files.

    >>> [result.name for result in results()]
    ['4.2', 'B.5', 'B.2']
    """
    return _RESULTS


def result(name: str) -> Result:
    """The result with this number in P, or "S2 …" for its number in the earlier version.

    >>> result("S2 4.2").name
    'B.5'
    """
    for candidate in _RESULTS:
        if name == candidate.name or name in candidate.aliases:
            return candidate
    known = [known for candidate in _RESULTS for known in (candidate.name, *candidate.aliases)]
    raise InvalidInput(f'There is no result "{name}". {nearest(name, known)}')


def step_limit(name: str, c: Constants, gradient_norm: float, epsilon: float) -> float:
    """The largest step ηη_t that the result allows at this gradient norm (pathwise form).

    >>> c = Constants(L0=1, L1=0.5, dim=10, omega=[4, 8], sigma0_sq=[0.1, 0.2], sigma1_sq=[0.01, 0.02])
    >>> round(step_limit("4.2", c, gradient_norm=2.0, epsilon=0.5), 13)
    0.0831600831601
    """
    return result(name).step_limit(c, gradient_norm, epsilon)


def bound(name: str, c: Constants, initial_gap: float, eta: float, epsilon: float, phi1: float, phi2: float) -> float:
    """The right-hand side of the result: a bound on E‖∇f(X_t̂)‖².

    Args:
        initial_gap: S0 = f(X0) − f*.
        phi1, phi2: ∫η_s ds and ∫η_s² ds over [0, t]; `schedule.phi(order, t)` gives them.

    >>> c = Constants(L0=1, L1=0.5, dim=10, omega=[4, 8], sigma0_sq=[0.1, 0.2], sigma1_sq=[0.01, 0.02])
    >>> phi1, phi2 = ((101**0.4 - 1) / 0.4, (1 - 101**-0.2) / 0.2)
    >>> round(bound("4.2", c, initial_gap=3.0, eta=0.1, epsilon=0.5, phi1=phi1, phi2=phi2), 10)
    0.6447610802
    """
    return result(name).bound(c, initial_gap, eta, epsilon, phi1, phi2)
