"""What every compressor offers: a message made of a gradient, of uniforms and of what the agent remembers; its error and its bits."""

import abc
import math
from typing import Any

import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from stablestep.described import Described
from stablestep.errors import InvalidInput

Vector = Float[Array, " d"]
Scalar = Float[Array, ""] | float
Operator = lx.AbstractLinearOperator
Memory = Any  # a pytree of arrays, () where nothing is remembered
FLOAT = 32


class Compressor(Described):
    """A randomised map of a gradient, given its randomness as uniforms on [0, 1), and perhaps of what the agent remembers.

    A subclass gives `compress` and `bits`, and `omega` (unbiased) or `contraction` (biased, with `unbiased` False). One that remembers
    gives `memory` and `send` instead of `compress`. The properties are facts that exact laws, models and theorems ask for; the defaults
    claim nothing, apart from `unbiased`.
    """

    def compress(self, uniform: Float[Array, " draws"], gradient: Vector) -> Vector:
        """The compressed gradient [d]; the same uniforms give the same message in every backend.

        Args:
            uniform: `draws(d)` numbers in [0, 1), all the randomness there is.
            gradient: a stochastic gradient [d].

        Raises:
            InvalidInput: if it remembers, so that there is only `send`.
        """
        raise InvalidInput(f"{self.name} remembers, so it has no compress(uniform, gradient); use send.")

    @abc.abstractmethod
    def bits(self, dim: int, shared: bool = False) -> float:
        """Expected number of bits of one message, floats in 32 of them.

        Args:
            dim: d.
            shared: whether the receiver knows the mask, so that no indices are sent.
        """

    def memory(self, gradient: Vector, exact: Vector) -> Memory:
        """What an agent remembers before its first message; () if it remembers nothing.

        Args:
            gradient: its first stochastic gradient [d].
            exact: the exact gradient there [d].
        """
        return ()

    def send(
        self, uniform: Float[Array, " draws"], gradient: Vector, memory: Memory, step: Scalar
    ) -> tuple[Vector, Memory]:
        """The message [d] and what is remembered from then on, in the shapes and types of before.

        Args:
            uniform: `draws(d)` numbers in [0, 1).
            gradient: the agent's stochastic gradient [d].
            memory: what it remembers.
            step: ηη_t, NaN unless `needs_step`.
        """
        return self.compress(uniform, gradient), memory

    def omega(self, dim: int) -> float:
        """The smallest known ω with E‖C(g) − g‖² ≤ ω‖g‖² in dimension `dim` (P Def. 3.3).

        Raises:
            InvalidInput: for a biased compressor.
        """
        raise InvalidInput(
            f"{self.name} is biased, so it has no ω; use an unbiased compressor, or the theorems of DSignSGD for Sign."
        )

    def contraction(self, dim: int) -> float:
        """The largest known α with E‖C(g) − g‖² ≤ (1 − α)‖g‖² in dimension `dim`: 1 − ω of an unbiased compressor with ω < 1.

        Raises:
            InvalidInput: for a compressor that is not contractive.
        """
        if not self.unbiased:
            raise self.no_contraction("is not contractive; use ScaledSign(), TopK(…) or a mask with scaled=False")
        omega = self.omega(dim)
        if omega >= 1:
            raise self.no_contraction(f"has ω = {omega:g} ≥ 1 and is not contractive; use scaled=False, or a smaller ω")
        return 1 - omega

    def draws(self, dim: int) -> int:
        """How many uniforms a message needs."""
        return dim

    @property
    def name(self) -> str:
        """For messages to the user."""
        return type(self).__name__

    @property
    def unbiased(self) -> bool:
        """Whether E C(g) = g."""
        return True

    @property
    def linear(self) -> bool:
        """Whether, for given uniforms, the message is a linear function of the gradient (a mask)."""
        return False

    @property
    def deterministic(self) -> bool:
        """Whether the message does not depend on the uniforms."""
        return False

    @property
    def homogeneous(self) -> bool:
        """Whether C(av) = aC(v) for every a > 0 and given uniforms."""
        return self.linear

    @property
    def sends_signs(self) -> bool:
        """Whether every coordinate of a message is −1, 0 or 1."""
        return False

    @property
    def is_sign(self) -> bool:
        """Whether a message is the sign of every coordinate of the gradient, so that the laws of signs hold for it."""
        return False

    @property
    def bounded(self) -> bool:
        """Whether messages are bounded, however large the gradient."""
        return self.sends_signs

    @property
    def remembers(self) -> bool:
        """Whether a message depends on earlier ones."""
        return False

    @property
    def needs_step(self) -> bool:
        """Whether `send` needs the step ηη_t."""
        return False

    def gain(self, dim: int) -> float:
        """c with E C(g) = c g in dimension `dim`: 1 if unbiased.

        Raises:
            InvalidInput: where the mean is no multiple of the gradient.
        """
        if self.unbiased:
            return 1.0
        raise InvalidInput(f"The mean of {self.name} messages is no multiple of the gradient.")

    def delay(self, dim: int) -> float:
        """τ: by how many steps, in the mean, messages lag behind the gradients; at worst, where it depends on them.

        Raises:
            InvalidInput: where no bound is known.
        """
        return 0.0

    def covariance(self, gradient: Vector, noise: Operator | None) -> Operator:
        """Covariance of one message C(G) as a lineax operator [d, d].

        Args:
            gradient: E G [d].
            noise: Cov G [d, d], or None without noise.

        Raises:
            InvalidInput: where no closed form is known.
        """
        raise self.no_covariance("with this noise")

    def no_covariance(self, when: str) -> InvalidInput:
        return InvalidInput(
            f"The covariance of {self.name} {when} has no closed form; ask for it by sampling: covariance(x, samples=…, key=…), "
            "or sde.model(…, samples=…)."
        )

    def no_contraction(self, why: str) -> InvalidInput:
        return InvalidInput(f"{self.name} {why}.")

    def check(self, dim: int) -> None:
        """Raise `InvalidInput` if this compressor cannot act in dimension `dim`."""


def index_bits(count: int) -> int:
    """⌈log₂ count⌉, the length of one index."""
    return math.ceil(math.log2(count)) if count > 1 else 0


def diagonal(values: Vector) -> Operator:
    return lx.DiagonalLinearOperator(values)


class Identity(Compressor):
    """No compression: DSGD. ω = 0; 32 d bits.

    >>> Identity().omega(10), Identity().contraction(10), Identity().bits(10)
    (0.0, 1.0, 320.0)
    """

    def compress(self, uniform, gradient):
        return gradient

    def omega(self, dim):
        return 0.0

    def bits(self, dim, shared=False):
        return float(FLOAT * dim)

    def draws(self, dim):
        return 0

    @property
    def linear(self):
        return True

    @property
    def deterministic(self):
        return True

    def covariance(self, gradient, noise):
        return diagonal(jnp.zeros_like(gradient)) if noise is None else noise
