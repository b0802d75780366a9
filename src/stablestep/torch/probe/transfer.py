"""From a step that trains well to another ω, N, mask or optimizer: what small trainings say, as a wide interval; never a promise."""

import math
from dataclasses import dataclass, field

from stablestep.compressor import Compressor, Identity
from stablestep.compressor.feedback import Wrapper
from stablestep.errors import instance, one_of, positive, require, whole, within
from stablestep.torch.probe.advice import Edge
from stablestep.torch.probe.calibration import row

OPTIMIZERS = ("sgd", "momentum", "adam", "sign")
MASKS = ("own", "shared")
KEEPS, SHORTEST = 0.35, 0.15  # spread of log h where the step stays as it is by rule, and of the shortest way
STRONG = 5.0  # s from which the law of momentum holds
HEAVY, HEAVY_SPREAD = 1.15, 0.25  # best step of momentum over (1 − β) times that of SGD, at strong noise
OTHER_WORKERS = 0.2  # spread that another N adds
NORMAL = 1.645


@dataclass(frozen=True)
class Plan:
    """How a training is done, as far as its best step depends on it.

    Args:
        compressor: what workers send.
        agents: N.
        mask: "own" or "shared".
        optimizer: "sgd", "momentum", "adam" or "sign" (signs, Signum).
        beta: of momentum.
        dim: entries of a typical tensor, for compressors whose ω depends on it.

    Raises:
        InvalidInput: if one of them cannot be right.

    >>> Plan(Identity(), agents=4).noise
    0.0
    """

    compressor: Compressor = field(default_factory=Identity)
    agents: int = 4
    mask: str = "shared"
    optimizer: str = "sgd"
    beta: float = 0.9
    dim: int = 1024

    def __post_init__(self) -> None:
        instance("compressor", self.compressor, Compressor, "Identity()")
        whole("agents", self.agents)
        whole("dim", self.dim)
        one_of("mask", self.mask, MASKS)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        within("beta", self.beta, 0, 1)

    @property
    def noise(self) -> float:
        """s: ω/N of own masks, ω of a shared one, 0 of biased messages and those with memory."""
        if not self.compressor.unbiased or isinstance(self.compressor, Wrapper):
            return 0.0
        return self.compressor.omega(self.dim) / (self.agents if self.mask == "own" else 1)


def transfer(step: float, before: Plan, after: Plan) -> Edge:
    """The best step of `after`, from one that is best for `before`, with an interval of 90 %.

    log h falls by p log((1 + s′)/(1 + s)), s = ω/N (own masks) or ω (a shared one), where small trainings give p and the spread for each
    optimizer: about p = 0.6 for SGD and 0 for AdamW and Signum, which keep their step, as SGD with error feedback around Top-k does.
    From SGD to momentum only one thing is a law: at strong noise (s ≥ 5) the step is 1.15 (1 − β) times as large. It is a prior for
    `probe(known=…)`, and no promise: one in ten answers lies outside the interval.

    Args:
        step: tuned for `before`.
        before, after: two plans with the same optimizer, or with SGD and momentum at s ≥ 5.

    Raises:
        InvalidInput: if nothing is known of the change.

    >>> from stablestep.compressor import RandomSparsification
    >>> there = transfer(0.1, Plan(), Plan(RandomSparsification(omega=19), mask="own"))
    >>> there.low < there.step < 0.1
    True
    """
    centre = math.log(positive("step", step))
    instance("before", before, Plan, "Plan()")
    instance("after", after, Plan, "Plan(agents=8)")
    variance = 0.0
    if before.optimizer != after.optimizer:
        centre += _heavy(before, after)
        variance += HEAVY_SPREAD**2
    moved = math.log1p(after.noise) - math.log1p(before.noise)
    _, weight, _, growth = row(after.optimizer).known["best"]
    centre += weight * moved
    if moved:
        variance += max(SHORTEST, growth * abs(moved)) ** 2
    elif before.compressor != after.compressor:
        variance += KEEPS**2
    if before.agents != after.agents:
        variance += OTHER_WORKERS**2
    return Edge.of(centre, NORMAL * math.sqrt(variance))


def _heavy(before: Plan, after: Plan) -> float:
    """log of the law of momentum, from SGD to it or back."""
    pair = {before.optimizer, after.optimizer}
    require(
        pair == {"sgd", "momentum"} and min(before.noise, after.noise) >= STRONG,
        f'no law leads from "{before.optimizer}" to "{after.optimizer}" here: only from SGD to momentum and back at a noise s = ω/N of at '
        "least 5; probe instead.",
    )
    heavy = after if after.optimizer == "momentum" else before
    ratio = math.log(HEAVY * (1 - heavy.beta))
    return ratio if after is heavy else -ratio
