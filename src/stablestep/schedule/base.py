"""What every schedule offers."""

import abc
from typing import NamedTuple

import equinox as eqx
from jaxtyping import Array, Float

from stablestep.described import Described
from stablestep.errors import InvalidInput
from stablestep.setup import Setup

Scalar = Float[Array, ""]


class Seen(NamedTuple):
    """What a schedule may depend on besides the time: ‖∇f(x)‖, the norm of the mean message, the mean of the agents' own norms, and the
    norm of the direction that the server made of the message."""

    gradient_norm: Scalar
    message_norm: Scalar
    local_norm: Scalar
    direction_norm: Scalar


class Schedule(Described):
    """A step size h = ηη_t; `eta` is η, and t = kη."""

    eta: eqx.AbstractVar[float]

    @abc.abstractmethod
    def step(self, t: Scalar, seen: Seen) -> Scalar:
        """The step ηη_t, in the type of t.

        Args:
            t: the time kη.
            seen: norms of the gradient, the mean message, the agents' own gradients and the direction; NaN where they are not known
                yet, or to a law.
        """

    def phi(self, order: int, t: float) -> float:
        """φ^order_t = ∫₀ᵗ (η_s)^order ds (P Section 4), a time.

        Args:
            order: 1 or 2.
            t: the time, kη.

        Raises:
            InvalidInput: where η_t depends on the path, or for another order.
        """
        raise InvalidInput(
            f"{type(self).__name__} depends on the path, so φ is random; φ exists for Constant, Polynomial and Custom."
        )

    def robbins_monro(self) -> bool:
        """Whether φ¹ → ∞ and φ²/φ¹ → 0 (P Section 4).

        Raises:
            InvalidInput: where that is not known.
        """
        raise InvalidInput(
            f"{type(self).__name__} has no known limit of φ²/φ¹; it is known for Constant and Polynomial."
        )

    @property
    def needs_agents(self) -> bool:
        """Whether it needs each agent's own gradient norm, which only agent-by-agent sampling knows."""
        return False

    @property
    def needs_ensemble(self) -> bool:
        """Whether a run's step depends on the other runs, so that all must be simulated together."""
        return False

    @property
    def sees_messages(self) -> bool:
        """Whether the step depends on the messages themselves, which no agent knows before it sends, and no SDE model knows."""
        return self.needs_agents

    def bind(self, setup: Setup, gradient_norm: float) -> "Schedule":
        """This schedule for a given setup, started at a point where ‖∇f‖ is `gradient_norm`.

        Raises:
            InvalidInput: if it does not fit the setup.
        """
        return self
