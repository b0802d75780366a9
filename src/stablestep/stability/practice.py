"""What a method needs and does, beyond theorems: whether to normalize, the critical step on a quadratic, and what happens above it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stablestep.card import Card, Shown
from stablestep.compressor import EF21, ErrorFeedback, LocalClip, Momentum, Sign
from stablestep.noise.student import slope
from stablestep.setup import Setup
from stablestep.theorem import Constants, necessary, result

DIVERGES = "it diverges"
YES = "yes, as 1/(L0 + L1‖∇f‖)"


@dataclass(frozen=True, repr=False)
class Practice(Shown):
    """One row of theory2 section 7, for a setup.

    Attributes:
        method: what it is called.
        normalization: whether a step must shrink as the gradient grows, and how.
        low, high: the critical step η on a quadratic λI, λ = L0 + L1‖∇f(x0)‖, in mean square: equal where it is exact; ∞ where there
            is none; None where no formula is known.
        formula: of the critical step.
        above: what happens above it, or where it stays below.
    """

    method: str
    normalization: str
    low: float | None
    high: float | None
    formula: str
    above: str

    @property
    def sentences(self) -> list[str]:
        """The row in words."""
        return [
            f"{self.method}: normalization: {self.normalization}.",
            f"Critical step where the curvature is λ = L0 + L1‖∇f(x0)‖ everywhere: {self._critical}; {self.formula}.",
            f"{self._when}: {self.above}.",
        ]

    @property
    def _when(self) -> str:
        return "In the long run" if self.low == math.inf else "Above that step"

    @property
    def _card(self) -> Card:
        return Card(self.method, lines=tuple(self.sentences))

    @property
    def _critical(self) -> str:
        if self.low is None or self.high is None:
            return "no formula is known"
        if math.isinf(self.low):
            return "none"
        return f"{self.low:.4g}" if self.low == self.high else f"between {self.low:.4g} and {self.high:.4g}"


@dataclass(frozen=True)
class Local:
    """A setup, its constants, and the curvature λ that they allow at the start."""

    setup: Setup
    c: Constants
    curvature: float

    @property
    def relative(self) -> float:
        """a = A/N."""
        return self.c.A / self.c.agents

    def step(self, h: float) -> float:
        """η of h = ηλ."""
        return h / self.curvature if self.curvature > 0 else math.inf

    def exact(
        self, method: str, h: float, formula: str, above: str = DIVERGES, normalization: str | None = None
    ) -> Practice:
        """A row with one critical step."""
        needed = normalization or (YES if self.c.smoothness[1] > 0 else "no, the curvature is bounded")
        return Practice(method, needed, self.step(h), self.step(h), formula, above)

    def unlimited(self, method: str, normalization: str, above: str) -> Practice:
        """A row without a critical step."""
        return Practice(
            method, normalization, math.inf, math.inf, "steps are bounded, however large the gradient", above
        )


def practice(setup: Setup, c: Constants, gradient_norm: float) -> Practice:
    """The row of a setup at a gradient norm."""
    L0, L1 = c.smoothness
    at = Local(setup, c, L0 + L1 * gradient_norm)
    return next(row for applies, row in _ROWS if applies(at))(at)


def _plain(at: Local) -> Practice:
    return at.exact(at.c.method, 2 / (1 + at.relative), "2/(λ(1 + A/N))")


def _heavy_ball(at: Local) -> Practice:
    beta, a = at.c.beta or 0.0, at.relative
    speed = at.c.speed
    return at.exact(
        "momentum (heavy ball)",
        2 / ((1 - beta) / (1 + beta) + a) / speed,
        f"η = {1 / speed:.3g} η_e, η_eλ = 2/(θ + A/N), θ = (1 − β)/(1 + β); off quadratics it can lie below the step without momentum",
        f"{DIVERGES}; below it noise of variance q leaves f − f* near (η_e q/2)/(2 − η_eλ(θ + A/N)) in each coordinate",
    )


def _nesterov(at: Local) -> Practice:
    server, a = at.setup.server, at.relative
    beta = server.beta  # type: ignore[attr-defined]
    square, middle = beta * (1 + 2 * beta) * (1 + a), (1 - beta) - 4 * beta**2 + a * (1 + beta)
    h = 4 * (1 - beta**2) / (middle + math.sqrt(middle**2 + 8 * square * (1 - beta**2)))
    formula = "the root of 2(1−β²) = h[(1−β) − 4β² + a(1+β)] + h²β(1+2β)(1+a), h = ηλ, a = A/N"
    return at.exact("Nesterov's momentum", h / (1 - beta) if server.average else h, formula)  # type: ignore[attr-defined]


def _mask_feedback(at: Local) -> Practice:
    p, s, N = at.c.alpha or 1.0, at.c.dim * float(np.max(at.c.sigma1_sq)), at.c.agents
    n = at.setup.masks
    assert n is not None
    own = s * n / N
    kind = type(at.setup.groups[0].compressor)
    above = DIVERGES + "; below it noise stays as without compression" * (kind is ErrorFeedback)
    top, middle = 2 * n * p * (2 - p), n * p**2 + 4 * (1 - p)
    if kind is EF21:
        amplified = f"{DIVERGES}; below it noise is (2−p)/p = {(2 - p) / p:.3g} times that without compression"
        return at.exact(
            "EF21 of masks", top / (middle + own * (2 - p) ** 2), "2Np(2−p)/(λ(Np² + 4(1−p) + s(2−p)²))", amplified
        )
    linear, square = n * (middle + own * p * (2 - p)), 2 * own * (1 - p) * (n - 1)
    h = 2 * n * top / (linear + math.sqrt(linear**2 + 4 * square * n * top))
    return at.exact("error feedback of masks", h, "2Np(2−p)/(λ(Np² + 4(1−p))) where noise does not grow with ∇f", above)


def _feedback(at: Local) -> Practice:
    c, kind = at.c, at.setup.groups[0].compressor.name
    gain = c.gain
    low = at.step(2 / (1 + math.sqrt(1 + 4 * gain**2)))
    worst = at.step(necessary(c) * c.smoothness[0]) if c.smoothness[0] > 0 else math.inf
    return Practice(
        kind,
        YES if c.smoothness[1] > 0 else "no, the curvature is bounded",
        low,
        at.step(2.0),
        f"some compressor of α = {c.alpha:.3g} fails from 2(1−s)/((1+s)λ) = {worst:.4g} on; Top-1 was measured near 2/(dλ) on equal "
        "curvatures, and up to 2/λ where few are sharp",
        DIVERGES,
    )


def _clip(at: Local) -> Practice:
    return at.exact(
        "local clipping",
        2.0,
        "2/λ where clipping does not act",
        "it stays within ηc of the minimum, in a bounded cycle",
        "no, the threshold c does it: η(L0 + L1c)χ(L1ηc) < 2",
    )


def _signs(at: Local) -> Practice:
    return at.unlimited(
        "signs", "no: ηL1d ≲ 2 at most", f"it stays near f − f* ≈ {_floor(at):.3g} η on a quadratic (small η)"
    )


def _floor(at: Local) -> float:
    """dσ̄/(4ℓN) η_e/η."""
    c = at.c
    return c.speed * c.dim * float(np.mean(c.scale_max)) / (4 * slope(c.tail) * c.agents)


def signum_factor(beta: float) -> float:
    """√((1−β)/(1+β)) D(β), D = 1 + (4/π) Σ arcsin βᵏ: how much higher momentum before the sign leaves f under Gaussian noise.

    >>> round(signum_factor(0.9), 3)
    3.046
    """
    powers = beta ** np.arange(1, math.ceil(40 / -math.log(beta)) + 2) if beta > 0 else np.zeros(1)
    return math.sqrt((1 - beta) / (1 + beta)) * (1 + 4 / math.pi * float(np.sum(np.arcsin(powers))))


def _signum(at: Local) -> Practice:
    beta = at.setup.groups[0].compressor.beta  # type: ignore[attr-defined]
    if at.c.nu == math.inf:
        higher = f"{signum_factor(beta):.3g} times as high as without momentum, near f − f* ≈ {signum_factor(beta) * _floor(at):.3g} η"
    else:
        higher = f"higher than without momentum, by about 2.24/(1−β) = {2.24 / (1 - beta):.3g} under Cauchy noise, for nothing"
    return at.unlimited("Signum (momentum before the sign)", "no", f"it stays {higher} (small η)")


def _majority(at: Local) -> Practice:
    return at.unlimited("majority vote", "no", "it stays at a loss that grows with η")


def _normalized(at: Local) -> Practice:
    name = {None: "discrete.normalized", "EF21": "discrete.normalized-ef21"}.get(
        at.c.memory, "discrete.normalized-momentum"
    )
    memory = "" if at.c.memory is None else " with memory"
    known = result(name).applies(at.c)
    limit = f", only η < {result(name).step_limit(at.c, None, None):.4g}" if known else ""
    plateau = "‖∇f‖ ≈ λη/2" if at.c.memory is None else "‖∇f‖ in proportion to η/(1 − s), s = β or √(1−α)"
    return at.unlimited(f"normalized steps{memory}", f"it is one{limit}", f"it stays at {plateau}; let the step decay")


def _unknown(at: Local) -> Practice:
    return Practice(
        str(at.c.memory),
        YES if at.c.smoothness[1] > 0 else "no, the curvature is bounded",
        None,
        None,
        'find it by critical_step(…, method="moments") or "rollouts"',
        DIVERGES,
    )


def _compressors(at: Local, kind: type) -> bool:
    return all(isinstance(group.compressor, kind) for group in at.setup.groups)


def _masked(at: Local) -> bool:
    linear = all(group.compressor.inner.linear for group in at.setup.groups)  # type: ignore[attr-defined]
    return linear and at.setup.masks is not None


def _remembers(*names: str | None) -> Callable[[Local], bool]:
    return lambda at: at.c.memory in names


def _is_signum(at: Local) -> bool:
    return _compressors(at, Momentum) and all(isinstance(group.compressor.inner, Sign) for group in at.setup.groups)  # type: ignore[attr-defined]


_ROWS: list[tuple[Callable[[Local], bool], Callable[[Local], Practice]]] = [
    (lambda at: at.c.normalized, _normalized),
    (lambda at: at.c.clip is not None and at.c.memory is None and _compressors(at, LocalClip), _clip),
    (lambda at: at.c.signs and at.c.memory in (None, "HeavyBall", "warm HeavyBall", "Nesterov"), _signs),
    (_remembers("Majority"), _majority),
    (lambda at: at.c.memory == "Momentum" and _is_signum(at), _signum),
    (_remembers(None), _plain),
    (_remembers("HeavyBall", "warm HeavyBall"), _heavy_ball),
    (_remembers("Nesterov"), _nesterov),
    (lambda at: at.c.memory in ("ErrorFeedback", "EF21") and _masked(at), _mask_feedback),
    (_remembers("ErrorFeedback", "EF21"), _feedback),
    (lambda at: True, _unknown),
]
