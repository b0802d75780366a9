"""The law of one group's mean message. Each class is an exact law; `AgentByAgent` is the definition the others are tested against."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from stablestep.binomial import Alias, Flips, fixed
from stablestep.compressor import Compressor, RandomSparsification, Sign
from stablestep.errors import InvalidInput
from stablestep.message.sign import multivariate_sign_covariance
from stablestep.noise import Gaussian, Noise, StudentT
from stablestep.problem import Problem
from stablestep.stream import Stream

Vector = Float[Array, " d"]
_AGENT = 1


class Part(eqx.Module):
    """The mean message of `count` equal agents, given x and the exact gradient there."""

    problem: Problem
    noise: Noise
    compressor: Compressor
    count: int = eqx.field(static=True)
    shared: bool = eqx.field(static=True)
    silent: bool = eqx.field(
        static=True
    )  # without noise; kept apart from the noise, whose numbers a compiled kernel sees as variables

    @abc.abstractmethod
    def draw(self, stream: Stream, x: Vector, gradient: Vector) -> tuple[Vector, Float[Array, ""]]:
        """A mean message, and the mean of the agents' own gradient norms (NaN if the law does not know it)."""

    @property
    def by_agents(self) -> bool:
        return False

    def mean(self, x: Vector, gradient: Vector) -> Vector:
        if self.compressor.unbiased:
            if not self.noise.has_mean:
                raise InvalidInput(
                    f"The mean message does not exist: {type(self.noise).__name__} noise has no mean; use df > 1 or compressor=Sign()."
                )
            return gradient
        if self.silent:
            return self.compressor.compress(jnp.zeros(0, x.dtype), gradient)
        return self._of_signs(self.noise.mean_sign, gradient)

    def secant(self, gradient: Vector) -> Vector:
        """The ratio of each coordinate of the mean message to that of the gradient, where the former depends on the latter only."""
        if self.compressor.unbiased:
            return jnp.ones_like(gradient)
        if self.silent:
            still = gradient == 0
            return jnp.where(still, 0, self.mean(gradient, gradient) / jnp.where(still, 1, gradient))
        return self._of_signs(self.noise.sign_slope, gradient)

    def covariance(self, x: Vector, gradient: Vector) -> lx.AbstractLinearOperator:
        if not self.compressor.unbiased:
            return self._sign_covariance(gradient) / self.count
        own = not self.shared or self.compressor.deterministic or self.count == 1
        noise = None if self.silent else self.noise.covariance(self.problem, x, gradient)
        if own:
            return self.compressor.covariance(gradient, noise) / self.count
        if not self.compressor.linear and noise is not None:
            raise self.compressor.no_covariance("with shared randomness")
        return self.compressor.covariance(gradient, None if noise is None else noise / self.count)

    def _of_signs(self, function: Callable, gradient: Vector, what: str = "mean") -> Vector:
        if not isinstance(self.compressor, Sign):
            raise self._sample_instead(what)
        try:
            return function(gradient)
        except InvalidInput as error:
            raise self._sample_instead(what) from error

    def _sample_instead(self, what: str) -> InvalidInput:
        return InvalidInput(
            f"The {what} of {type(self.compressor).__name__} messages under {type(self.noise).__name__} noise has no closed form; "
            f"ask for it by sampling: {what}(x, samples=…, key=…)."
        )

    def _sign_covariance(self, gradient: Vector) -> lx.AbstractLinearOperator:
        if self.silent:
            return lx.DiagonalLinearOperator(jnp.zeros_like(gradient))
        wrong = self._of_signs(self.noise.flip_probability, gradient, "covariance")
        if isinstance(self.noise, StudentT) and not self.noise.independent:
            return multivariate_sign_covariance(self.noise, gradient)
        _, wrong = sides(gradient, wrong)
        return lx.DiagonalLinearOperator(4 * wrong * (1 - wrong))


def sides(gradient: Vector, wrong: Vector) -> tuple[Vector, Vector]:
    """A coordinate without noise has no flip; if its gradient is 0 as well (NaN), its sign is 0."""
    still = jnp.isnan(wrong)
    side = jnp.where(gradient < 0, -jnp.ones_like(gradient), jnp.ones_like(gradient))
    return jnp.where(still, 0, side), jnp.where(still, 0, wrong)


class AgentByAgent(Part):
    """Every agent draws its gradient and compresses it: exact for every pair, at a cost that grows with the number of agents."""

    @property
    def by_agents(self):
        return True

    def draw(self, stream, x, gradient):
        if self.count == 1:
            return self._agent(stream, stream, x, gradient)

        def add(index, total):
            message, norm = self._agent(stream.child(index, tag=_AGENT), stream, x, gradient)
            return total[0] + message, total[1] + norm

        zero = jnp.zeros_like(gradient), jnp.zeros_like(gradient[0])
        message, norm = lax.fori_loop(0, self.count, add, zero)
        return message / self.count, norm / self.count

    def _agent(self, own: Stream, group: Stream, x, gradient):
        noisy = self.noise.sample(own, self.problem, x, gradient)
        source = group if self.shared else own
        uniform = source.uniform(self.compressor.draws(gradient.shape[0]), gradient.dtype)
        return self.compressor.compress(uniform, noisy), jnp.sqrt(jnp.sum(noisy * noisy))


class Deterministic(Part):
    """No noise and no randomness: all agents send the same message."""

    def draw(self, stream, x, gradient):
        return self.compressor.compress(jnp.zeros(0, x.dtype), gradient), jnp.sqrt(jnp.sum(gradient * gradient))


class LinearGaussian(Part):
    """One mask for all (or none) and Gaussian noise: the mask applied to a normal vector of variance s²/n."""

    def draw(self, stream, x, gradient):
        dim, dtype = gradient.shape[0], gradient.dtype
        assert isinstance(self.noise, Gaussian)
        deviation = self.noise.scale(gradient) * np.asarray(self.count**-0.5, dtype)
        noisy = gradient + deviation * stream.normal(dim, dtype)
        uniform = stream.uniform(self.compressor.draws(dim), dtype)
        return self.compressor.compress(uniform, noisy), jnp.full((), jnp.nan, dtype)


class SparseGaussian(Part):
    """Own Bernoulli masks and Gaussian noise: with K ~ Binomial(n, 1/(1+ω)), the mean message is (1+ω)/n · (K g + s √K Z)."""

    kept: Alias | None

    def draw(self, stream, x, gradient):
        dim, dtype = gradient.shape[0], gradient.dtype
        assert isinstance(self.noise, Gaussian) and isinstance(self.compressor, RandomSparsification)
        deviation = self.noise.scale(gradient)
        normal, nothing = stream.normal(dim, dtype), jnp.full((), jnp.nan, dtype)
        if self.kept is None:
            return self.compressor.compress(stream.uniform(dim, dtype), gradient + deviation * normal), nothing
        count = self.kept.sample(stream.words(dim)[1]).astype(dtype)
        weight = (1 + self.compressor.sparsity) / self.count
        return weight * (count * gradient + deviation * jnp.sqrt(count) * normal), nothing


class IndependentSigns(Part):
    """Signs under noise with independent coordinates: the n signs of coordinate j sum to ±(n − 2 Binomial(n, P(flip_j)))."""

    flips: Flips | None

    def draw(self, stream, x, gradient):
        side, wrong = sides(gradient, self.noise.flip_probability(gradient))
        if self.flips is None:
            number = (stream.uniform(gradient.shape[0], gradient.dtype) < wrong).astype(gradient.dtype)
        else:
            number = self.flips.sample(stream, wrong)
        return side * (1 - (2 / self.count) * number), jnp.full((), jnp.nan, gradient.dtype)


def exact_law(problem: Problem, noise: Noise, compressor: Compressor, count: int, shared: bool) -> Part | None:
    """The law whose cost does not grow with the number of agents, where one is known."""
    common = (problem, noise, compressor, count, shared, noise.is_zero)
    if noise.is_zero and compressor.deterministic:
        return Deterministic(*common)
    if isinstance(noise, Gaussian) and compressor.linear and (shared or compressor.deterministic or (count == 1)):
        return LinearGaussian(*common)
    if isinstance(noise, Gaussian) and isinstance(compressor, RandomSparsification):
        return SparseGaussian(*common, fixed(count, 1 / (1 + compressor.sparsity)))
    if isinstance(compressor, Sign) and noise.independent:
        return IndependentSigns(*common, None if count == 1 else Flips.of(count))
    return None
