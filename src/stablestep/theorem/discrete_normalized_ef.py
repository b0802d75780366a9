"""Error feedback of the normalized gradient in discrete time: NEF of theory2 section 5."""

from dataclasses import dataclass

import numpy as np

from stablestep.theorem.discrete import Discrete, noise_free
from stablestep.theorem.remainder import psi, stretch
from stablestep.theorem.result import Hypothesis

METHOD = "ErrorFeedback of the normalized gradient"


@dataclass(frozen=True, kw_only=True)
class NormalizedEF(Discrete):
    """p = e + η∇f/‖∇f‖, x⁺ = x − C(p), e⁺ = p − C(p), one client, no noise, ‖C(v) − v‖ ≤ √(1−α)‖v‖ for every draw. r = s/(1 − s), u = L1η.

    (1/K) Σ‖∇f(x̃_k)‖ [1 − L1ψ/η − 2(e^{ru} − 1)] ≤ S0/(ηK) + L0ψ/η + 2(L0/L1)(e^{ru} − 1) at x̃ = x − e, since ‖e‖ ≤ rη. Largest L1η:
    .06111 (α = .25), .02173 (.1), .002041 (.01). The gradient is normalized before it enters the memory, which then knows how large it can
    be; ErrorFeedback under schedule.Normalized is another method, for which nothing is proved.

    >>> from stablestep.theorem.constants import Constants
    >>> round(RESULT.step_limit(Constants(L0=1, L1=1, dim=4, alpha=0.1)), 10)
    0.0217349052
    """

    any_schedule: bool = False

    def bracket(self, c, h, epsilon=None):
        _, L1 = c.smoothness
        return 1 - L1 * (psi(h, L1) / h + 2 * stretch(c.gain * h, L1))

    def cost(self, c, h):
        L0, L1 = c.smoothness
        return L0 * (psi(h, L1) + 2 * h * stretch(c.gain * h, L1))

    def measure(self, c, gradient_norm, **options):
        return np.asarray(gradient_norm, float)

    def gradient_norm_bound(self, c, value, **options):
        return value

    def assumed(self, c):
        return (
            noise_free(self.name, c),
            Hypothesis(
                "one client",
                c.agents == 1,
                f"{self.name} is about one client, but there are {c.agents}; use discrete.normalized-ef21, or count=1.",
            ),
            Hypothesis(
                "a contraction for every draw",
                c.alpha_surely,
                f"{self.name} needs a compressor that contracts for every draw, but alpha_surely is False; use Top-k, "
                "a scaled sign or another deterministic one, or discrete.normalized-ef21.",
            ),
        )

    @property
    def unlike_remedy(self):
        return "use discrete.normalized-ef21, which knows such clients"


RESULT = NormalizedEF(
    name="discrete.normalized-ef",
    method="NSGD",
    normalized=True,
    memories=(METHOD,),
    needs="alpha",
    reference="theory2 section 5 (NEF)",
)
