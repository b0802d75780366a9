"""What the server makes of the mean message: the direction that the step multiplies, and what it remembers."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from stablestep.compressor.feedback import momentum
from stablestep.described import Described
from stablestep.errors import InvalidInput, checked, flag

Vector = Float[Array, " d"]
Memory = Any  # a pytree of arrays, () where nothing is remembered


class Server(Described):
    """A function of the mean message M, and perhaps of earlier ones, that gives the direction D of x ← x − ηη_t D."""

    def memory(self, gradient: Vector) -> Memory:
        """What the server remembers before the first message: a pytree of arrays, () if it remembers nothing.

        Args:
            gradient: ∇f(x0) [d], which only a server that states `needs_unbiased` may start from.
        """
        return ()

    @abc.abstractmethod
    def turn(self, message: Vector, memory: Memory) -> tuple[Vector, Memory]:
        """The direction D [d], and what is remembered from then on, in the shapes and types of before.

        Args:
            message: M [d], the mean message of all agents.
            memory: what it remembers.
        """

    @property
    def name(self) -> str:
        """For messages to the user."""
        return type(self).__name__

    @property
    def plain(self) -> bool:
        """Whether the direction is the mean message."""
        return False

    @property
    def delay(self) -> float:
        """τ: by how many steps, in the mean, the direction lags behind the messages.

        Raises:
            InvalidInput: where the direction is not linear in the messages.
        """
        raise InvalidInput(f"{self.name} is not a linear function of the messages, so it has no delay.")

    @property
    def needs_unbiased(self) -> bool:
        """Whether it needs unbiased messages, because it starts from the gradient."""
        return False

    @property
    def needs_signs(self) -> bool:
        """Whether it needs messages of signs."""
        return False


class Plain(Server):
    """D = M.

    >>> Plain().turn(jnp.array([2.0]), ())[0].tolist()
    [2.0]
    """

    def turn(self, message, memory):
        return message, memory

    @property
    def plain(self):
        return True

    @property
    def delay(self):
        return 0.0


class HeavyBall(Server):
    """Momentum: m⁺ = βm + M, D = m⁺ (Polyak); with `nesterov` D = M + βm⁺ (as in PyTorch); with `average` M counts (1−β) times.

    A step η then acts like η_e = η/(1−β) (with `average`: η), with the delay τ = β/(1−β), or β²/(1−β) with `nesterov`. m = 0 at the
    start; `warm=True`: its mean at rest there, ∇f/(1−β) (with `average`: ∇f).

    Raises:
        InvalidInput: if β is not in [0, 1), or a flag is not True or False.

    >>> HeavyBall(beta=0.5).turn(jnp.array([2.0]), jnp.array([4.0]))[0].tolist()
    [4.0]
    >>> HeavyBall(beta=0.5, nesterov=True).delay
    0.5
    """

    beta: float = eqx.field(converter=momentum)
    nesterov: bool = eqx.field(static=True, default=False, converter=checked(flag, "nesterov"))
    average: bool = eqx.field(static=True, default=False, converter=checked(flag, "average"))
    warm: bool = eqx.field(static=True, default=False, converter=checked(flag, "warm"))

    def memory(self, gradient):
        if not self.warm:
            return jnp.zeros_like(gradient)
        return gradient if self.average else gradient / (1 - self.beta)

    def turn(self, message, memory):
        share = (1 - self.beta) * message if self.average else message
        moved = self.beta * memory + share
        return (share + self.beta * moved if self.nesterov else moved), moved

    @property
    def delay(self):
        return self.beta ** (2 if self.nesterov else 1) / (1 - self.beta)

    @property
    def needs_unbiased(self):
        return self.warm


class Majority(Server):
    """The majority vote of signs: D = sign M, 0 for a tie (Bernstein et al. 2018).

    A majority of one among more than about two million agents is a tie in float32.

    >>> Majority().turn(jnp.array([0.5, 0.0]), ())[0].tolist()
    [1.0, 0.0]
    """

    def turn(self, message, memory):
        # Groups of different sizes are weighted by rounded numbers, so that a tie is 0 to rounding only.
        tie = jnp.abs(message) <= 4 * jnp.finfo(message.dtype).eps
        return jnp.where(tie, 0, jnp.sign(message)), memory

    @property
    def needs_signs(self):
        return True
