"""What the theorems say about a setup at a start: P's Table 2 for it, what dominates the limit, and what would buy a larger step."""

import math
from dataclasses import dataclass, replace

import numpy as np

from stablestep.card import Card, Shown, number
from stablestep.errors import InvalidInput, within
from stablestep.setup import Setup
from stablestep.stability.practice import Practice, practice
from stablestep.stability.start_point import StartPoint, start_point
from stablestep.theorem import Constants, Result, covering, results
from stablestep.theorem.of_setup import constants_at
from stablestep.theorem.unbiased import Unbiased

HEAD = ("result", "SDE", "printed", "corrected", "reference")
MODELS = {"first": "classic (first order)", "new": "new", "discrete": "none (discrete time)"}


@dataclass(frozen=True)
class Row:
    """One result at the start: its limit of the method's own step ηη_t, as printed and corrected (None where it has no such form).

    `reason` says why one of them, or both, does not apply.
    """

    name: str
    method: str
    sde: str
    reference: str
    printed: float | None
    corrected: float | None
    reason: str = ""

    @property
    def applies(self) -> bool:
        """Whether it has a limit here, in either form."""
        return self.printed is not None or self.corrected is not None


@dataclass(frozen=True, repr=False)
class Advice(Shown):
    """Limits at a start, and what follows.

    Attributes:
        rows: every result on the setup's kind of messages, memory and steps: on the classic (first-order) SDE, the new one, and in discrete
            time.
        constants: (L0, L1), d, and the agents' constants that were used.
        gradient_norm: ‖∇f(x0)‖.
        epsilon: ε of the limits.
        shares: how much of the limit's denominator is due to landscape, compression and noise (they sum to 1); landscape only for signs
            and where no SDE is behind it.
        constant_step: the largest constant step that the theorem allows from every start, or None if there is none.
        normalization: (a, b) of the safe step h = 1/(a + b‖∇f‖), for signs (a, 0); None where no result knows the memory.
        buys: what the limit at x0 would be after a change, such as "N = 32".
        practice: what is known beyond theorems: normalization, critical step, what happens above it.
        given: whether the constants were handed in, so that the setup itself does not vouch for them.
    """

    rows: tuple[Row, ...]
    constants: Constants
    gradient_norm: float
    epsilon: float
    shares: dict[str, float]
    constant_step: float | None
    normalization: tuple[float, float] | None
    buys: dict[str, float]
    practice: Practice
    given: bool = False

    @property
    def limit(self) -> float | None:
        """The limit at x0 by the result that covers the setup (see `theorem.covering`); None where none knows its memory."""
        if self.normalization is None:
            return None
        inverse = self.normalization[0] + self.normalization[1] * self.gradient_norm
        return 1 / inverse if inverse > 0 else math.inf

    @property
    def verdict(self) -> str:
        """Whether a constant step can be safe, in a sentence."""
        if self.normalization is None or self.limit is None:
            return f"No theorem covers {self.constants.memory}: what follows is measured or exact on quadratics."
        if self.constants.normalized and math.isfinite(self.limit):
            return f"Steps are normalized already: all below {self.limit:.4g} are allowed. f stalls in proportion to them: let them decay."
        if self.constants.signs and not self.constants.normalized:
            allowed = f"a constant step below {self.limit:.4g}" if math.isfinite(self.limit) else "every constant step"
            return (
                f"Signs are normalized already: {allowed} is allowed {self._where('everywhere')}, without any gradient norm. "
                "It stalls at a loss that grows with the step, so let it decay."
            )
        if math.isinf(self.limit):
            return "The theorem rules out no step: neither the curvature nor the noise asks for a limit."
        decay = " Noise that stays at the minimum asks for a decay on top." if self.constants.B > 0 else ""
        if self.constant_step is not None:
            where = self._where("from every start: the curvature is bounded")
            return f"A constant step below {self.constant_step:.4g} is safe {where}.{decay}"
        a, b = self.normalization
        return (
            f"No constant step is safe from every start: the curvature grows with the gradient. Normalize: h = 1/({a:.4g} + {b:.4g}‖∇f‖)."
            + decay
        )

    def _where(self, known: str) -> str:
        return (
            "where the given constants hold; measured ones hold near where they were measured" if self.given else known
        )

    @property
    def sentences(self) -> list[str]:
        """The start, what limits the step, what to do, and what is known beyond theorems."""
        c, rule = self.constants, "" if self.constants.signs else f", ε = {self.epsilon:g}"
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.shares.items())
        buys = ", ".join(f"{change}: {allowed(value)}" for change, value in self.buys.items())
        return [
            f"At x0: ‖∇f‖ = {self.gradient_norm:.4g}, (L0, L1) = ({c.L0:.4g}, {c.L1:.4g}), N = {c.agents}, d = {c.dim}{rule}. "
            "Limits hold on each path, with the path's own gradient norm.",
            *([] if self.limit is None else [f"What limits the step: {shares}."]),
            self.verdict,
            *([f"The limit would become: {buys}."] if buys else []),
            *self.practice.sentences,
        ]

    @property
    def _card(self) -> Card:
        limit = (
            f"no theorem covers {self.constants.memory}"
            if self.limit is None
            else f"step limit {allowed(self.limit)} at x0"
        )
        rows = [
            (row.name, MODELS[row.sde], allowed(row.printed), allowed(row.corrected), row.reference)
            for row in self.rows
            if row.applies
        ]
        others = ", ".join(row.name for row in self.rows if not row.applies)
        why = [f"Does not apply here (`rows` says why): {others}."] if others else []
        return Card(limit, HEAD if rows else (), tuple(rows), (*why, *self.sentences))


def allowed(step: float | None) -> str:
    """A step limit in a table.

    >>> allowed(0.123456), allowed(math.inf), allowed(None)
    ('0.1235', 'no limit', '–')
    """
    return "no limit" if step == math.inf else number(step)


def advise(
    setup: Setup,
    *,
    x0,
    epsilon: float = 0.5,
    L1: float | None = None,
    constants: Constants | None = None,
    normalized: bool = False,
    seed: int = 0,
) -> Advice:
    """Limits of every result on the setup's method at x0, with what dominates them.

    Args:
        epsilon: ε of the limits on unbiased messages; towards 1 the step grows and the bound worsens.
        L1: which pair (L0, L1); by default the best one at ‖∇f(x0)‖.
        constants: instead of the setup's own, such as `theorem.constants_from` estimates; what the setup remembers is filled in.
        normalized: whether the steps will be divided by the norm of the direction (`schedule.Normalized`).

    Raises:
        InvalidInput: where no theorem applies (see `theorem.constants`), unless for a memory that none knows; or ε is out of range.

    >>> from stablestep import compressor, noise, problem
    >>> from stablestep.setup import Agents
    >>> agents = Agents(16, noise.Gaussian(sigma1=0.1), compressor.RandomSparsification(omega=8.0))
    >>> found = advise(Setup(problem.Quartic(dim=1000), agents), x0=0.5, L1=2.0)
    >>> [row.name for row in found.rows if row.corrected], {name: round(share, 2) for name, share in found.shares.items()}
    (['4.1', '4.2'], {'landscape': 0.14, 'compression': 0.07, 'noise': 0.79})
    """
    epsilon = within("epsilon", epsilon, 0, 1, hint=", such as 0.5")
    start = start_point(setup, x0, seed)
    start.require_slope()
    c, norm = _constants(start, L1, constants, normalized), start.gradient_norm
    rows = tuple(_row(one, c, norm, epsilon) for one in results() if one.concerns(c))
    at = _covering(c)
    return Advice(
        rows,
        c,
        norm,
        epsilon,
        _shares(at, c, norm),
        None if at is None else _constant_step(start, c, epsilon, own=constants is None),
        None if at is None else _normalization(at, c, epsilon),
        {} if at is None else {change: _limit(other, norm, epsilon) for change, other in _changes(c)},
        practice(setup, c, norm),
        constants is not None,
    )


def _constants(start: StartPoint, L1: float | None, given: Constants | None, normalized: bool) -> Constants:
    x0 = None if callable(start.x0) else start.point
    return constants_at(start.setup, start.gradient_norm, L1, given, normalized, x0)


def _covering(c: Constants) -> Result | None:
    """The result that covers it; None for a memory of which none says anything."""
    if c.memory is not None and not any(one.applies(c) for one in results() if one.concerns_steps(c)):
        return None
    return covering(c)


def _limit(c: Constants, norm: float, epsilon: float) -> float:
    return covering(c).step_limit(c, norm, epsilon) / c.speed


def _normalization(at: Result, c: Constants, epsilon: float) -> tuple[float, float]:
    offset, growth = at.normalization(c, epsilon)
    return offset * c.speed, growth * c.speed


def _row(found: Result, c: Constants, norm: float, epsilon: float) -> Row:
    limits: dict[str, float | None] = {"printed": None, "corrected": None}
    reasons = []
    for form in found.forms:
        failing = [one.failure for one in found.hypotheses(c, form=form) if not one.holds]
        limits[form] = None if failing else found.step_limit(c, norm, epsilon, form=form) / c.speed
        reasons += failing[:1]
    return Row(found.name, found.method, found.sde, found.reference, **limits, reason=reasons[0] if reasons else "")


def _shares(at: Result | None, c: Constants, norm: float) -> dict[str, float]:
    if not isinstance(at, Unbiased):
        return {"landscape": 1.0, "compression": 0.0, "noise": 0.0}
    L0, L1 = c.smoothness
    curvature = L0 + L1 * norm
    silent = replace(c, sigma0_sq=0.0, sigma1_sq=0.0)
    parts = {
        "landscape": curvature * (at.relative(c) - c.A / c.agents),
        "compression": curvature * silent.A / c.agents,
        "noise": curvature * (c.A - silent.A) / c.agents + L1 * c.B / c.agents,
    }
    total = sum(parts.values())
    return {name: part / total if total > 0 else 0.0 for name, part in parts.items()}


def _constant_step(start: StartPoint, c: Constants, epsilon: float, own: bool) -> float | None:
    """The limit with L1 = 0, where such a pair exists."""
    if c.signs or c.normalized or c.clip is not None:
        return None
    bounded = _bounded(start, c) if own else c
    if bounded is None or bounded.smoothness[1] > 0:
        return None
    limit = _limit(bounded, 0.0, epsilon)
    return limit if limit < math.inf else None


def _bounded(start: StartPoint, c: Constants) -> Constants | None:
    try:
        largest = start.setup.problem.smoothness(0.0)
    except InvalidInput:
        return None
    return replace(c, L0=largest, L1=0.0, mean_smoothness=(largest, 0.0) if c.unlike else None)


def _changes(c: Constants) -> list[tuple[str, Constants]]:
    """Setups a step away: more agents (as these, in the same proportions), less compression, no noise."""
    changes = [(f"N = {factor * c.agents}", _repeated(c, factor)) for factor in (2, 10)]
    if c.beta is not None:
        changes.append(("no momentum", replace(c, beta=None, memory=None, speed=1.0)))
    if c.signs:
        return changes
    if np.any(c.omega):
        changes += [("ω halved", replace(c, omega=c.omega / 2)), ("no compression", replace(c, omega=0.0))]
    if np.any(c.sigma0_sq) or np.any(c.sigma1_sq):
        changes.append(("no gradient noise", replace(c, sigma0_sq=0.0, sigma1_sq=0.0)))
    return changes


def _repeated(c: Constants, factor: int) -> Constants:
    lists = ("omega", "sigma0_sq", "sigma1_sq") + (("scale_max", "scale_min") if c.scale_max is not None else ())
    return replace(c, count=factor * c.agents, **{name: np.tile(getattr(c, name), factor) for name in lists})
