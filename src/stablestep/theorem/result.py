"""What every result offers, and which setups it is about."""

import abc
import math
from dataclasses import dataclass

import numpy as np

from stablestep.errors import FORMS, InvalidInput, at_least_zero, positive, require, within
from stablestep.theorem.constants import FEEDBACK, Constants


@dataclass(frozen=True)
class Hypothesis:
    """One assumption of a result: what it says, whether it holds, and if not, in one sentence why and what would satisfy it."""

    statement: str
    holds: bool
    failure: str = ""


@dataclass(frozen=True, kw_only=True)
class Result(abc.ABC):
    """A theorem: while the step ηη_t stays below its limit on each path, E measure(∇f(X_t̂)) ≤ its bound.

    The random time t̂ has the density `density`.

    Attributes:
        name: its number in the newer paper, or a name; aliases: other numbers, "S2 …" in the earlier one.
        reference: where it stands, with its equations.
        method: the optimizer that it is about.
        sde: the model it is proved for, "first" or "new"; "discrete" for the optimizer itself.
        memories: those that it knows, by name; where there are none, it is about messages of the present point alone.
        needs: the constant that describes the memory, "beta" or "alpha".
        normalized, clips: whether it is about normalized steps, about local clipping.
        forms: the forms it has.
    """

    name: str
    aliases: tuple[str, ...]
    reference: str
    method: str
    sde: str
    memories: tuple[str, ...] = ()
    needs: str | None = None
    normalized: bool = False
    clips: bool = False
    forms: tuple[str, ...] = FORMS

    def __init_subclass__(cls) -> None:
        cls.__repr__ = Result.__repr__  # or a dataclass makes its own

    def __repr__(self) -> str:
        return f"<{self.name}: {self.method} {self.model} ({self.reference})>"

    @abc.abstractmethod
    def assumptions(self, c: Constants, **options) -> tuple[Hypothesis, ...]:
        """What it assumes of the constants, beside what it knows of memory; `options` are those of `theorem.Variant`."""

    @abc.abstractmethod
    def step_limit(self, c: Constants, gradient_norm: float | None, epsilon: float | None, **options) -> float:
        """The largest ηη_t; ∞ where the result asks for nothing.

        Args:
            c: the constants.
            gradient_norm: ‖∇f(X_t)‖ of the path itself; None for results that do not depend on it.
            epsilon: ε in (0, 1), of the results that have one.

        Raises:
            InvalidInput: outside the hypotheses.
        """

    @abc.abstractmethod
    def bound(self, c: Constants, **options) -> float:
        """The right-hand side, in units of `measure`.

        Args:
            c: the constants, with the initial gap unless that is given.
            options: eta, phi1 and phi2 (η, ∫₀ᵗ η_s ds and ∫₀ᵗ η_s² ds) of a result on an SDE, what `needs` says of a discrete one.

        Raises:
            InvalidInput: outside the hypotheses, or where these numbers prove that a step exceeds the limit.
        """

    @abc.abstractmethod
    def density(self, c: Constants, **options):
        """The density of the random time at times where the schedule is `eta_t`; in discrete time the probability of each iteration.

        Raises:
            InvalidInput: as `bound`.
        """

    def memory(self, c: Constants) -> Hypothesis:
        """That nothing remembers, or only what this result knows: every other one raises."""
        if not self.memories:
            return Hypothesis(
                "no memory",
                c.memory is None,
                f"{self.name} is about messages of the present point alone, but {c.memory} remembers; leave the memory out, or find the "
                'step by simulation, critical_step(…, method="rollouts").',
            )
        known = " or ".join(self.memories)
        given = c.memory is not None and (c.memory in self.memories or (c.memory == FEEDBACK and self.needs == "alpha"))
        remedy = (
            f"give {self.needs}"
            if c.memory is None
            else 'leave the memory out, or use critical_step(…, method="rollouts")'
        )
        return Hypothesis(
            f"no memory but {known}",
            given and getattr(c, str(self.needs)) is not None,
            f"{self.name} is about {known}, but "
            + (f"{self.needs} is missing; give {self.needs}." if given else f"memory is {c.memory}; {remedy}."),
        )

    def steps(self, c: Constants) -> Hypothesis:
        """That steps are normalized, and messages clipped, only where this result is about it."""
        what = "normalized" if c.normalized else f"made of gradients clipped at {c.clip}"
        return Hypothesis(
            "clipping" if self.clips else "normalized steps" if self.normalized else "plain steps",
            (self.normalized or not c.normalized) and (self.clips or c.clip is None),
            f"{self.name} is about {self.method} with {'normalized' if self.normalized else 'plain'} steps, but these are {what}; "
            "leave it out of the constants, or use a result on such steps.",
        )

    def clients(self, c: Constants) -> Hypothesis:
        """That all clients share f, unless this result says more."""
        return Hypothesis(
            "one f for all clients",
            not c.unlike,
            f"{self.name} is about clients that share f, but dissimilarity is {c.dissimilarity}; {self.unlike_remedy}.",
        )

    @property
    def unlike_remedy(self) -> str:
        """What to do where clients differ."""
        return "use 4.2, which knows such clients"

    def hypotheses(self, c: Constants, **options) -> tuple[Hypothesis, ...]:
        """The assumptions on the constants, checked one by one."""
        return (self.memory(c), self.steps(c), self.clients(c), *self.assumptions(c, **options))

    def concerns_steps(self, c: Constants) -> bool:
        """Whether it is about steps of this kind: plain, normalized, or of clipped gradients."""
        return self.normalized == c.normalized and self.clips == (c.clip is not None)

    def concerns(self, c: Constants) -> bool:
        """Whether it is about methods of this kind, memory, steps and messages, whatever else it assumes."""
        kind = self.normalized or self.clips or self.signs == c.signs
        return kind and self.concerns_steps(c) and self.memory(c).holds

    @property
    def model(self) -> str:
        """What it is proved for, in words."""
        return {"first": "on its classic SDE", "new": "on its new SDE", "discrete": "itself, in discrete time"}[
            self.sde
        ]

    @property
    def signs(self) -> bool:
        """Whether it is about signs."""
        return self.method == "DSignSGD"

    def applies(self, c: Constants, **options) -> bool:
        """Whether all hypotheses hold."""
        return all(hypothesis.holds for hypothesis in self.hypotheses(c, **options))

    def check(self, c: Constants, **options) -> None:
        """Raise `InvalidInput` with the first hypothesis that fails."""
        for hypothesis in self.hypotheses(c, **options):
            require(hypothesis.holds, hypothesis.failure)

    def times(self, eta, phi1, phi2, steps) -> dict:
        """The arguments of `bound` and `density` that say which steps are taken: η with φ¹ and φ²."""
        require(steps is None, f"{self.name} is about an SDE, which takes no steps; give eta, phi1 and phi2.")
        given = {"eta": eta, "phi1": phi1, "phi2": phi2}
        missing = [name for name, value in given.items() if value is None]
        require(
            not missing,
            f"{self.name} needs eta, phi1 and phi2, but {', '.join(missing)} is missing; schedule.phi(order, t) gives φ.",
        )
        return given

    def edge(self, c: Constants, gradient_norm: float | None, **options) -> float:
        """The step limit as ε → 1, beyond which the result allows no step at all."""
        return self.step_limit(c, gradient_norm, None, **options)

    def normalization(self, c: Constants, epsilon: float | None, **options) -> tuple[float, float]:
        """(a, b) of the limit as a normalized step, 1/(a + b‖∇f‖); b = 0 for signs."""
        offset, at_one = (1 / self.step_limit(c, norm, epsilon, **options) for norm in (0.0, 1.0))
        return offset, at_one - offset

    def measure(self, c: Constants, gradient_norm, **options):
        """What is bounded in expectation: ‖∇f‖² unless the result says otherwise."""
        return np.square(gradient_norm)

    def gradient_norm_bound(self, c: Constants, value: float, **options) -> float:
        """What a bound of `value` says about E‖∇f(X_t̂)‖."""
        return math.sqrt(value)

    def require_below(self, limit: float, step: float, what: str, strict: bool = False) -> None:
        """Raise where a step of this schedule is proved to lie beyond `limit`, which no path's own limit exceeds."""
        # Rounding of φ² and φ¹ is no violation.
        below = step < limit if strict else step <= limit * (1 + 1e-9)
        require(
            below,
            f"{self.name} says nothing here: it allows steps {'below' if strict else 'up to'} {limit:.4g}, but {what} is {step:.4g}; "
            "use a smaller eta or a schedule that decays faster.",
        )


def mean_step(eta: float, phi1: float, phi2: float) -> float:
    """∫ηη_s · η_s ds/∫η_s ds: a mean of the schedule's steps, so that one of them is at least as large."""
    return eta * phi2 / phi1


MEAN_STEP = "the schedule's mean step, ηφ²/φ¹,"


def checked_time(eta: float, phi1: float, phi2: float) -> None:
    """Raise unless η, φ¹ and φ² can be those of a schedule."""
    positive("eta", eta)
    positive("phi1", phi1)
    at_least_zero("phi2", phi2)


def checked_gap(c: Constants, initial_gap: float | None) -> float:
    """S0 as given, or that of the constants."""
    gap = c.initial_gap if initial_gap is None else initial_gap
    if gap is None:
        raise InvalidInput("initial_gap is missing; give f(x0) − f*, here or in the constants.")
    return at_least_zero("initial_gap", gap)


def checked_epsilon(name: str, epsilon: float | None) -> float:
    """ε in (0, 1), which has no default."""
    if epsilon is None:
        raise InvalidInput(f"{name} needs an epsilon between 0 and 1, such as 0.5.")
    return within("epsilon", epsilon, 0, 1, hint=", such as 0.5")
