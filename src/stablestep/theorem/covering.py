"""Which result covers given constants, or a setup: the one place that chooses."""

from dataclasses import dataclass

from stablestep.card import Card, Shown, number
from stablestep.errors import InvalidInput, instance
from stablestep.setup import Setup
from stablestep.theorem.catalogue import results
from stablestep.theorem.constants import EXAMPLE, Constants
from stablestep.theorem.of_setup import constants_at
from stablestep.theorem.result import Result


def covering(c: Constants, **options) -> Result:
    """The result that covers these constants; its step limit as ε → 1 is `Result.edge`.

    All are asked for their hypotheses. Of those that hold and are about steps of this kind, one is preferred that is about this very
    method (DSGD, DCSGD or DSignSGD), on the new SDE, and first in P. Where something remembers, or steps are normalized or clipped, one
    on the method itself, in discrete time, comes before one that is on its SDE only and says so in its reference.

    Args:
        options: form, unit, young, radius: see `theorem.Variant`.

    Raises:
        InvalidInput: where none applies, with what the preferred one lacks.

    >>> compressed = Constants(L0=1, L1=2, dim=10, omega=4.0)
    >>> covering(compressed).name, round(covering(compressed).edge(compressed, gradient_norm=2.0), 12)
    ('4.2', 0.08)
    >>> covering(Constants(L0=1, L1=2, dim=10)).name, covering(Constants(L0=1, L1=2, dim=10, nu=1.0, scale_max=1.0)).name
    ('B.2', '4.3')
    >>> [covering(Constants(L0=1, L1=L1, dim=10, beta=0.9)).name for L1 in (0, 2)]
    ['discrete.momentum', 'momentum']
    """
    instance("c", c, Constants, EXAMPLE)
    preferred = sorted(results(), key=lambda one: _rank(one, c))
    for one in preferred:
        if one.concerns_steps(c) and one.applies(c, **options):
            return one
    preferred[0].check(c, **options)
    raise InvalidInput(
        f"no result covers {c.memory or c.method} with {'normalized' if c.normalized else 'plain'} steps; {preferred[0].name} is the "
        'nearest one, for other steps. Find the step by simulation, critical_step(…, method="rollouts").'
    )


def _rank(one: Result, c: Constants) -> tuple[bool, bool, bool, int]:
    plain = c.memory is None and not c.normalized and c.clip is None
    order = ("new", "first", "discrete") if plain else ("discrete", "new", "first")
    unknown = c.memory is not None and c.memory not in one.memories
    return not one.concerns(c), unknown, one.method != c.method, order.index(one.sde)


@dataclass(frozen=True, repr=False)
class Covered(Shown):
    """A result that covers a setup, the constants it was asked with, and the largest step ηη_t of the method itself (ε → 1)."""

    result: Result
    constants: Constants
    step: float

    @property
    def _card(self) -> Card:
        lines = self.result.reference, f"{self.result.method}, {self.result.model}", repr(self.constants)
        return Card(f"{self.result.name} allows steps up to {number(self.step)}", lines=lines)


def covered(
    setup: Setup,
    gradient_norm: float,
    L1: float | None = None,
    constants: Constants | None = None,
    normalized: bool = False,
) -> Covered:
    """What the result that covers a setup allows at a gradient norm.

    Args:
        L1: which pair (L0, L1); by default the best one at this gradient norm.
        constants: instead of the setup's own, such as `constants_from` estimates; the memory is that of the setup.
        normalized: whether steps are divided by the norm of the direction (which no setup says).

    Raises:
        InvalidInput: where no result covers it, or L1 and constants are both given.

    >>> from stablestep import compressor, problem, server
    >>> from stablestep.setup import Agents
    >>> feedback = Agents(1, compressor=compressor.ErrorFeedback(compressor.TopK(k=1)))
    >>> found = covered(Setup(problem.Quadratic([1.0] * 4), feedback), gradient_norm=1.0)
    >>> found.result.name, round(found.step, 10)
    ('ef', 0.1431965115)
    """
    c = constants_at(setup, gradient_norm, L1, constants, normalized)
    found = covering(c)
    return Covered(found, c, found.edge(c, gradient_norm) / c.speed)
