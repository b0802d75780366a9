"""Heavy ball with any unbiased messages in discrete time: the proof of theory2 section 3 for another memory."""

from dataclasses import dataclass

from stablestep.theorem.discrete import Discrete, smooth
from stablestep.theorem.result import Hypothesis


@dataclass(frozen=True, kw_only=True)
class Momentum(Discrete):
    """f L-smooth, m = 0 at the start, constant effective step η_e, E‖M‖² ≤ (1 + A/N)‖∇f‖² + B/N, r = β/(1 − β):

    (1/K) Σ E‖∇f(x_k)‖² ≤ [2S0/(η_eK) + (Lη_e + r²L²η_e²) B/N]/[1 − (Lη_e + r²L²η_e²)(1 + A/N)].

    >>> from stablestep.theorem.constants import Constants
    >>> RESULT.step_limit(Constants(L0=1, L1=0, dim=1, beta=0.5))
    0.618033988749...
    """

    any_schedule: bool = False
    share: float = 2.0

    def bracket(self, c, h, epsilon=None):
        return 1 - _grown(c, h) * (1 + c.A / c.agents)

    def cost(self, c, h):
        return h * _grown(c, h) * c.B / c.agents

    def clients(self, c):
        return Hypothesis("clients of their own data", True)

    def assumed(self, c):
        return (
            smooth(self.name, c),
            Hypothesis(
                "unbiased messages of finite variance",
                not c.signs,
                f"{self.name} is about unbiased messages, but these constants describe signs (nu = {c.nu}); use discrete.sign-average.",
            ),
        )


def _grown(c, h):
    """Lη + r²L²η²."""
    Lh = c.smoothness[0] * h
    return Lh + (c.beta / (1 - c.beta) * Lh) ** 2


RESULT = Momentum(
    name="discrete.momentum",
    method="heavy ball",
    memories=("HeavyBall",),
    needs="beta",
    reference="theory2 section 3, the EF theorem's proof for heavy ball",
)
