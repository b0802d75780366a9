"""DSignSGD with the server's momentum after the signs, in discrete time: Theorem B of theory2 along the virtual iterate."""

from dataclasses import dataclass

import numpy as np

from stablestep.theorem.discrete_sign import Sign
from stablestep.theorem.remainder import psi, stretch


@dataclass(frozen=True, kw_only=True)
class SignAverage(Sign):
    """m⁺ = βm + (1 − β)M, x⁺ = x − hm⁺ with M the mean of signs and m = 0 at the start, at a constant effective step h; R = √d.

    As `discrete.sign` with ψ(Rh) e^{uτ} + hR (e^{uτ} − 1)/L1 in the place of ψ(Rh), τ = β/(1 − β), u = L1 R h. Proof: z = x − hτm moves
    by −hM, so that E f(z⁺) ≤ f(z) − h ∇f(z)·E M + (L0 + L1‖∇f(z)‖) ψ(Rh); as ‖m‖ ≤ R, ‖z − x‖ ≤ hτR, and both gradients at z are replaced
    by those at x with ‖∇f(z) − ∇f(x)‖ ≤ (L0 + L1‖∇f(x)‖)(e^{uτ} − 1)/L1. For small steps it is 1 + 2τ times ψ: the delay, as for every
    linear memory. theory2 section 10 lists it as open.

    >>> from stablestep.theorem.constants import Constants
    >>> c = Constants(L0=1, L1=1, dim=4, nu=1, scale_max=1, beta=0.9)
    >>> RESULT.step_limit(c) < 0.3813442804 / 10
    True
    """

    def remainder(self, c, h):
        (_, L1), radius, delay = c.smoothness, self.radius(c), c.beta / (1 - c.beta)
        with np.errstate(over="ignore", invalid="ignore"):
            moved = np.exp(L1 * radius * h * delay)
        return psi(radius * h, L1) * moved + h * radius * stretch(radius * h * delay, L1)


RESULT = SignAverage(
    name="discrete.sign-average",
    method="DSignSGD",
    memories=("HeavyBall",),
    needs="beta",
    any_schedule=False,
    reference="theory2 Thm B along the virtual iterate of the server's momentum",
)
