"""The SDE of compressed SGD with momentum: theory2 section 2.4, which continues P Theorem 4.2."""

from dataclasses import dataclass

from stablestep.theorem.result import Hypothesis
from stablestep.theorem.unbiased import Unbiased


@dataclass(frozen=True, kw_only=True)
class Momentum(Unbiased):
    """For dX = −η_t∇f + (η_eη_t²/2) θ∇²f∇f + …, θ = (1−β)/(1+β), the model that has heavy ball's stationary loss and edge on quadratics:

    h = η_eη_t ≤ 2ε/((L0 + L1‖∇f‖)(θ + A/N) + L1 B/N) gives E ∫η_s‖∇f‖² ds ≤ (S0 + φ² η_e (L0 + L1) B/(2N))/(1 − ε). As β → 1 it is 4.1.
    On a quadratic ε → 1 is heavy ball's own edge, η_eλ = 2/(θ + a), a = A/N. It is a theorem for the SDE and none for the optimizer: on
    x⁴/4 momentum of β = .9 diverges from steps at which SGD does not. All steps are effective ones, η_e = η/(1 − β).

    >>> from stablestep.theorem.constants import Constants
    >>> c = Constants(L0=1, L1=0, dim=1, omega=8.0, count=16, beta=0.9)
    >>> round(RESULT.edge(c, 0.0), 4)
    3.619
    """

    forms: tuple[str, ...] = ("corrected",)

    def relative(self, c):
        return (1 - c.beta) / (1 + c.beta) + c.A / c.agents

    def assumptions(self, c, **options):
        printed = options.get("form") == "printed"
        return (
            *super().assumptions(c, **options),
            Hypothesis("no printed form", not printed, f'{self.name} is in no paper; leave form="printed" out.'),
        )


RESULT = Momentum(
    name="momentum",
    aliases=(),
    method="heavy ball",
    sde="new",
    memories=("HeavyBall", "warm HeavyBall"),
    needs="beta",
    unlike=True,
    reference="theory2 section 2.4, for the SDE with momentum only, continuing P Thm 4.2",
)
