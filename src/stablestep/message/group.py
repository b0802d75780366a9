"""The law of one group's mean message, and agent-by-agent sampling: the definition that every other law is tested against."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Float

from stablestep.compressor import Compressor
from stablestep.errors import InvalidInput
from stablestep.noise import Noise
from stablestep.norms import norm as length
from stablestep.problem import Problem
from stablestep.stream import Family, Stream

Vector = Float[Array, " d"]
Scalar = Float[Array, ""]
Memory = Any  # a pytree, for a group with memory one row an agent


class GroupLaw(eqx.Module):
    """The mean message of `count` equal agents, given x, the exact gradient there, and what they remember."""

    problem: Problem
    noise: Noise
    compressor: Compressor
    count: int = eqx.field(static=True)
    shared: bool = eqx.field(static=True)
    silent: bool = eqx.field(
        static=True
    )  # without noise; kept apart from the noise, whose numbers a compiled kernel sees as variables

    @abc.abstractmethod
    def draw(self, stream: Stream, x: Vector, gradient: Vector) -> tuple[Vector, Scalar]:
        """A mean message, and the mean of the agents' own gradient norms (NaN if the law does not know it)."""

    def begin(self, stream: Stream, x: Vector, gradient: Vector) -> Memory:
        """What the agents remember before their first message, which `stream` will draw."""
        return ()

    def advance(
        self, stream: Stream, x: Vector, gradient: Vector, memory: Memory, step: Scalar
    ) -> tuple[Vector, Scalar, Memory]:
        """As `draw`, with what the agents remember before and after; `step` is ηη_t where a compressor needs it."""
        return *self.draw(stream, x, gradient), memory

    @property
    def method(self) -> str:
        """ "law" if the cost does not grow with the number of agents, "native" if C++ draws such a law, else "agents"."""
        return "law"

    def mean(self, x: Vector, gradient: Vector) -> Vector:
        """E of the mean message; raises `InvalidInput` where it does not exist or has no closed form."""
        self.require_memoryless("mean")
        if self.compressor.unbiased or self.compressor.linear:
            if not self.noise.has_mean:
                raise InvalidInput(
                    f"The mean message does not exist: {type(self.noise).__name__} noise has no mean; use df > 1 or compressor=Sign()."
                )
            return gradient if self.compressor.unbiased else self.compressor.gain(gradient.shape[0]) * gradient
        if self.silent and self.compressor.deterministic:
            return self.compressor.compress(jnp.zeros(0, x.dtype), gradient)
        return self._of_signs(self.noise.mean_sign, gradient)

    def secant(self, gradient: Vector) -> Vector:
        """The ratio of each coordinate of the mean message to that of the gradient, where the former depends on the latter only."""
        self.require_memoryless("mean")
        if self.compressor.unbiased or self.compressor.linear:
            return jnp.full_like(gradient, self.compressor.gain(gradient.shape[0]))
        if self.silent and self.compressor.deterministic:
            still = gradient == 0
            return jnp.where(still, 0, self.mean(gradient, gradient) / jnp.where(still, 1, gradient))
        return self._of_signs(self.noise.sign_slope, gradient)

    def covariance(self, x: Vector, gradient: Vector) -> lx.AbstractLinearOperator:
        """Of the mean message; raises `InvalidInput` where it is infinite or has no closed form."""
        self.require_memoryless("covariance")
        if self.compressor.unbiased or self.compressor.linear:
            return self._averaged_covariance(x, gradient)
        if self.silent and self.compressor.deterministic:
            return lx.DiagonalLinearOperator(jnp.zeros_like(gradient))
        return self._of_signs(self.noise.sign_covariance, gradient, "covariance") / self.count

    def _averaged_covariance(self, x: Vector, gradient: Vector) -> lx.AbstractLinearOperator:
        noise = None if self.silent else self.noise.covariance(self.problem, x, gradient)
        if not self.shared or self.compressor.deterministic or self.count == 1:
            return self.compressor.covariance(gradient, noise) / self.count
        if not self.compressor.linear and noise is not None:
            raise self.compressor.no_covariance("with shared randomness")
        return self.compressor.covariance(gradient, None if noise is None else noise / self.count)

    def _of_signs(self, function: Callable, gradient: Vector, what: str = "mean"):
        if not self.compressor.is_sign:
            raise self.sample_instead(what)
        try:
            return function(gradient)
        except InvalidInput as error:
            raise self.sample_instead(what) from error

    def sample_instead(self, what: str) -> InvalidInput:
        """Where there is no closed form."""
        return InvalidInput(
            f"The {what} of {self.compressor.name} messages under {type(self.noise).__name__} noise has no closed form; "
            f"ask for it by sampling: {what}(x, samples=…, key=…), or sde.model(…, samples=…)."
        )

    def require_memoryless(self, what: str) -> None:
        """Raise `InvalidInput` if messages depend on what the agents remember, which `what` knows nothing of."""
        if self.compressor.remembers:
            raise self._needs_memory(what)

    def _needs_memory(self, what: str) -> InvalidInput:
        return InvalidInput(
            f"The {what} of {self.compressor.name} messages depends on what the agents remember, not on x alone; "
            "give memory=state.agents, or simulate the method."
        )


class AgentByAgent(GroupLaw):
    """Every agent draws its gradient and compresses it: exact for every pair, at a cost that grows with the number of agents."""

    @property
    def method(self):
        return "agents"

    def draw(self, stream, x, gradient):
        if self.count == 1:
            return self._agent(stream, stream, x, gradient)

        def add(index, total):
            message, norm = self._agent(self._own(stream, index), stream, x, gradient)
            return total[0] + message, total[1] + norm

        zero = jnp.zeros_like(gradient), jnp.zeros_like(gradient[0])
        message, norm = lax.fori_loop(0, self.count, add, zero)
        return message / self.count, norm / self.count

    def _own(self, stream: Stream, index) -> Stream:
        return stream if self.count == 1 else stream.child(index, Family.AGENT)

    def _agent(self, own: Stream, group: Stream, x, gradient):
        noisy = self.noise.sample(own.noise, self.problem, x, gradient)
        return self.compressor.compress(self._uniform(own, group, gradient), noisy), length(noisy)

    def _uniform(self, own: Stream, group: Stream, gradient):
        source = group if self.shared else own
        return source.mask.uniform(self.compressor.draws(gradient.shape[0]), gradient.dtype)


class Remembering(AgentByAgent):
    """Agents with memory, one after another: n times what one remembers."""

    def draw(self, stream, x, gradient):
        raise self._needs_memory("law")

    def begin(self, stream, x, gradient):
        def own(index):
            noisy = self.noise.sample(self._own(stream, index).noise, self.problem, x, gradient)
            return self.compressor.memory(noisy, gradient)

        return jax.vmap(own)(jnp.arange(self.count))

    def advance(self, stream, x, gradient, memory, step):
        def add(total, agent):
            index, before = agent
            own = self._own(stream, index)
            noisy = self.noise.sample(own.noise, self.problem, x, gradient)
            message, after = self.compressor.send(self._uniform(own, stream, gradient), noisy, before, step)
            return (total[0] + message, total[1] + length(noisy)), after

        zero = jnp.zeros_like(gradient), jnp.zeros_like(gradient[0])
        (message, norm), memory = lax.scan(add, zero, (jnp.arange(self.count), memory))
        return message / self.count, norm / self.count, memory
