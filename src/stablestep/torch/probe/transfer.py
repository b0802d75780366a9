"""From a step that trains well to another ω, N, mask or optimizer: what small trainings say, as a wide interval; never a promise."""

import math
from dataclasses import dataclass, field

from stablestep.compressor import Compressor, ErrorFeedback, Identity, TopK
from stablestep.compressor.feedback import Wrapper
from stablestep.errors import instance, one_of, positive, require, shown, whole, within
from stablestep.torch.probe.advice import Edge
from stablestep.torch.probe.calibration import row

OPTIMIZERS = ("sgd", "momentum", "adam", "muon", "sign")
MASKS = ("own", "shared")
KEEPS, SHORTEST = 0.35, 0.15  # spread of log h where the step stays as it is by rule, and of the shortest way
LOOSE = 0.9  # spread where one kind of message takes another's place: error feedback around Rand-k was off by up to 8
OF_SIGNS = 0.4  # spread for each log(1 + s) beside the table's, which has Signum alone: signs of a sparse aggregate gained a power of 0.66
STRONG = 5.0  # s from which the law of momentum holds
HEAVY, HEAVY_SPREAD = 1.15, 0.25  # best step of momentum over (1 − β) times that of SGD, at strong noise
OTHER_WORKERS = 0.2  # spread that another N adds
NORMAL = 1.645
FARTHEST = 700.0  # log of what a float holds


@dataclass(frozen=True)
class Plan:
    """How a training is done, as far as its best step depends on it.

    Args:
        compressor: what workers send.
        agents: N.
        mask: "own" or "shared".
        optimizer: "sgd", "momentum", "adam", "muon" or "sign" (signs, Signum); a compressor that sends signs makes it "sign".
        beta: of momentum, for all but "sgd".
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
    def family(self) -> str:
        """The row of the table: what the optimizer makes of the messages."""
        return "sign" if self.compressor.sends_signs else self.optimizer

    @property
    def heavy(self) -> float:
        """β, 0 without momentum."""
        return 0.0 if self.optimizer == "sgd" else self.beta

    @property
    def noise(self) -> float:
        """s: ω/N of own masks, ω of a shared one, 0 of biased messages and those with memory."""
        if not self.compressor.unbiased or isinstance(self.compressor, Wrapper):
            return 0.0
        return self.compressor.omega(self.dim) / (self.agents if self.mask == "own" else 1)


def transfer(step: float, before: Plan, after: Plan) -> Edge:
    """The best step of `after`, from one that is best for `before`, with an interval of 90 %.

    log h falls by p log((1 + s′)/(1 + s)), s = ω/N (own masks) or ω (a shared one), where small trainings give p and the spread for each
    optimizer: about p = 0.7 for SGD and momentum and 0 for AdamW, which keeps its step, as SGD with error feedback around Top-k does;
    other biased messages, and noise under signs, leave it nearly open. At strong noise (s ≥ 5) the step of momentum is 1.15 (1 − β) times
    that of SGD, and so goes from one β to another. It is a prior for `probe(known=…)`, and no promise: one in ten answers lies outside the
    interval.

    Args:
        step: tuned for `before`.
        before, after: two plans with the same optimizer, or with SGD and momentum at s ≥ 5.

    Raises:
        InvalidInput: if nothing is known of the change, or the step would be beyond what a float holds.

    >>> from stablestep.compressor import RandomSparsification
    >>> there = transfer(0.1, Plan(), Plan(RandomSparsification(omega=19), mask="own"))
    >>> there.low < there.step < 0.1
    True
    """
    centre = math.log(positive("step", step))
    instance("before", before, Plan, "Plan()")
    instance("after", after, Plan, "Plan(agents=8)")
    moved = math.log1p(after.noise) - math.log1p(before.noise)
    heavy, spread = _heavy(before, after)
    _, weight, _, growth = row(after.family).known["best"]
    centre += heavy + weight * moved
    if moved:
        growth = math.hypot(growth, OF_SIGNS if after.family == "sign" else 0.0)
        spread = math.hypot(spread, max(SHORTEST, growth * abs(moved)))
    if before.agents != after.agents:
        spread = math.hypot(spread, OTHER_WORKERS)
    half = NORMAL * math.hypot(spread, _other_messages(before, after))
    require(
        abs(centre) + half < FARTHEST,
        f"from a step of {shown(step)} these plans lead beyond what a float holds; give a step that one would train with.",
    )
    return Edge.of(centre, half)


def _heavy(before: Plan, after: Plan) -> tuple[float, float]:
    """log of the law of momentum, from SGD to it, back, or from one β to another, and its spread."""
    pair = (before.family, after.family)
    if (before.family, before.optimizer, before.heavy) == (after.family, after.optimizer, after.heavy):
        return 0.0, 0.0
    require(
        set(pair) <= {"sgd", "momentum"} and min(before.noise, after.noise) >= STRONG,
        f"no law leads from {_named(before)} to {_named(after)} here: only from SGD to momentum and back, and from one β of momentum to "
        "another, at a noise s = ω/N of at least 5; probe instead.",
    )
    ratio = _log_of_law(after) - _log_of_law(before)
    return ratio, HEAVY_SPREAD * math.sqrt(pair.count("momentum"))


def _log_of_law(plan: Plan) -> float:
    return math.log(HEAVY * (1 - plan.heavy)) if plan.heavy else 0.0


def _named(plan: Plan) -> str:
    signs = " on signs" if plan.family != plan.optimizer else ""
    return f'"{plan.optimizer}"{signs}' + (f" with β = {plan.beta:g}" if plan.heavy else "")


def _other_messages(before: Plan, after: Plan) -> float:
    """The spread that another compressor adds, beside its ω."""
    pair = (before.compressor, after.compressor)
    biased = [one for one in pair if isinstance(one, Wrapper) or not one.unbiased]
    if pair[0] == pair[1] or (not biased and before.noise != after.noise):
        return 0.0
    top = all(isinstance(one, ErrorFeedback) and isinstance(one.inner, TopK) for one in biased)
    return KEEPS if top else LOOSE
