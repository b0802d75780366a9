"""What every predictor starts from, and what every one returns."""

import math
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from stablestep.card import Card, Shown, number
from stablestep.errors import instance, is_number, require, seed_of, shown
from stablestep.message import Law, law
from stablestep.norms import SQUARED
from stablestep.record import cast, look_at, start, working_dtype
from stablestep.setup import Setup
from stablestep.stream import Family, Stream

BLOWN = 1000.0  # a run whose f − f* passes this many times its start has blown up, unless said otherwise


@dataclass(frozen=True, repr=False)
class CriticalStep(Shown):
    """A critical step h = ηη_t, found in one of several ways.

    Attributes:
        step: the step; ∞ where none was found.
        low, high: its interval (equal to the step for a formula).
        status: how it was found, and what it is worth:
            "exact": to the precision of arithmetic, since nothing is random or all moments are known;
            "formula": a model's or a theorem's number, as good as the model;
            "estimated": a mean over random messages or growth rates crosses 0 there, and the interval is one standard error; no run of
            the method was followed, so whether the edge is sharp is not known;
            from an ensemble of runs "sharp" (η90/η10 ≤ 1.25), "soft" (wider), "horizon-dependent" (it moves as runs grow longer);
            "never": no step tried is too large, or every one is.
        method: which predictor.
        definition: what is meant by the edge.
        cost: in steps of one run; a gradient, a message or a Hessian product counts as one.
        details: numbers of this method, such as step10, step90 (where a tenth and nine tenths of the runs end up) and steps.
    """

    step: float
    low: float
    high: float
    status: str
    method: str
    definition: str
    cost: int
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def _card(self) -> Card:
        interval = "" if self.low == self.high else f", interval {number(self.low)} – {number(self.high)}"
        details = tuple(
            (name, number(value) if is_number(value) else str(value))
            for name, value in self.details.items()
            if not isinstance(value, dict)
        )
        lines = (f"{self.method}: {self.definition}", f"cost: {self.cost} steps of one run")
        return Card(f"critical step {number(self.step)}{interval} ({self.status})", rows=details, lines=lines)


SHARP = 1.25  # η90/η10 up to which an edge is called sharp


def sharpness(step10: float, step90: float) -> str:
    """The status of an edge between these two steps."""
    return "sharp" if step90 <= SHARP * step10 else "soft"


def edge_of(share: str = "half", blown: float = BLOWN) -> str:
    """The definition of the edge that runs have: what share of them fails, and what failing is.

    >>> edge_of(blown=math.inf)
    'half of the runs from x0 have blown up (f is no number), or have a mean of f over their last fifth above f(x0)'
    """
    passed = f"f − f* has passed {blown:g} times its start" if blown < math.inf else "f is no number"
    return (
        f"{share} of the runs from x0 have blown up ({passed}), or have a mean of f over their last fifth above f(x0)"
    )


def checked_blown(blown: float) -> float:
    """How many times its start f − f* may grow before a run has blown up."""
    fits = is_number(blown) and blown > 1
    require(
        fits,
        f"blown is {shown(blown)}, but must be greater than 1; use {BLOWN:g}, or inf for no threshold.",
    )
    return float(blown)


def never(step: float, method: str, definition: str, cost: int, **details) -> CriticalStep:
    """∞ where no step tried is too large, 0 where every one is."""
    return CriticalStep(step, step, step, "never", method, definition, cost, details)


def formula(step: float, method: str, definition: str, cost: int, **details) -> CriticalStep:
    """A step without uncertainty."""
    return CriticalStep(step, step, step, "formula", method, definition, cost, details)


@dataclass(frozen=True)
class StartPoint:
    """A setup and a start x0: a number, a vector, or a function of a JAX key (predictors by formula then use one draw)."""

    setup: Setup
    x0: Any
    point: Float[np.ndarray, " d"]
    value: float
    gradient: Float[np.ndarray, " d"]
    seed: int

    @property
    def law(self) -> Law:
        return law(self.setup)

    @property
    def gradient_norm(self) -> float:
        return math.hypot(*self.gradient.tolist())  # whose squares neither overflow nor vanish

    @property
    def fixed(self) -> bool:
        """Whether nothing is random: one run says all."""
        silent = all(group.noise.is_zero and group.compressor.deterministic for group in self.setup.groups)
        return silent and not callable(self.x0)

    def messages(self, law: Law, count: int):
        """`count` mean messages at the start, from `law` in the working precision."""
        streams = Stream.seed(self.seed).children(np.arange(count, dtype=np.uint32), Family.MESSAGE)
        return _messages(law, streams, self.point)

    def require_slope(self) -> None:
        require(
            self.gradient_norm > 0,
            "the gradient at x0 is 0, so no step changes anything there; start somewhere else.",
        )
        require(
            1 / SQUARED <= self.gradient_norm <= SQUARED,
            f"‖∇f(x0)‖ is {self.gradient_norm:.4g}, but must be between {1 / SQUARED:g} and {SQUARED:g}, where float64 holds its square; "
            "scale f or x.",
        )

    def dimensionless(self, sizes: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Steps h = size · ‖x0‖/‖∇f(x0)‖ (or 1/‖∇f‖ at the origin): a first guess in the problem's own units."""
        length = math.hypot(*self.point.tolist()) or 1.0
        return sizes * length / self.gradient_norm


def start_point(setup: Setup, x0, seed: int = 0) -> StartPoint:
    """Check the start and evaluate f there in float64.

    Raises:
        InvalidInput: if setup is no Setup, x0 has the wrong shape, or f is not finite there.
    """
    instance("setup", setup, Setup, "Setup(problem, Agents(4))")
    seed = seed_of(seed)
    with working_dtype("float64") as kind:
        point = np.asarray(start(x0, setup.problem, 1, seed, kind))[0]
        value, gradient, _ = look_at(cast(setup.problem, kind), point)
        return StartPoint(setup, x0, point, float(value), np.asarray(gradient), seed)


@eqx.filter_jit
def _messages(law: Law, streams: Stream, x):
    return lax.map(lambda stream: law.draw(stream, jnp.asarray(x))[1], streams, batch_size=64)


def ceiling(low, values, blown):
    """Where a run that started with f = `values` counts as blown up: `blown` times the gap to `low`, f* (0 where it is not known)."""
    return low + blown * jnp.maximum(jnp.abs(values - low), jnp.finfo(values.dtype).tiny)


def symmetric(step: float, log_error: float) -> tuple[float, float]:
    """The interval of a step whose logarithm has this error."""
    factor = math.exp(min(log_error, 700.0))
    return step / factor, step * factor
