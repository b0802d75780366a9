"""Exact laws of one group's mean message, whose cost does not grow with the number of agents; and the table of which is known when."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from stablestep import native
from stablestep.compressor import Compressor, RandomSparsification, Sign
from stablestep.message.binomial import Alias, Flips, fixed
from stablestep.message.group import GroupLaw, Vector
from stablestep.noise import Gaussian, Noise
from stablestep.noise.base import sides
from stablestep.norms import norm
from stablestep.problem import Problem
from stablestep.stream import box_muller

MOST_NATIVE_FLIPS = 512  # agents, beyond which XLA's tables are quicker


class Deterministic(GroupLaw):
    """No noise and no randomness: all agents send the same message."""

    def draw(self, stream, x, gradient):
        return self.compressor.compress(jnp.zeros(0, x.dtype), gradient), norm(gradient)


class LinearGaussian(GroupLaw):
    """One mask for all (or none) and Gaussian noise: the mask applied to a normal vector of variance s²/n."""

    def draw(self, stream, x, gradient):
        dim, dtype = gradient.shape[0], gradient.dtype
        assert isinstance(self.noise, Gaussian)
        deviation = self.noise.scale(gradient) * np.asarray(self.count**-0.5, dtype)
        noisy = gradient + deviation * stream.noise.normal(dim, dtype)
        uniform = stream.mask.uniform(self.compressor.draws(dim), dtype)
        return self.compressor.compress(uniform, noisy), _unknown(gradient)


class NativeLaw(GroupLaw):
    """A law that C++ knows too, for float32: the same law of other random words, so that results differ between the two."""

    build: str | None = eqx.field(static=True)

    @property
    def method(self):
        return "law" if self.build is None else "native"

    def native(self, vector: Vector) -> str | None:
        """The build that serves for numbers of this type."""
        return self.build if vector.dtype == jnp.float32 else None


class SparseGaussian(NativeLaw):
    """Own Bernoulli masks and Gaussian noise: with K ~ Binomial(n, p), the mean message is c/n · (K g + s √K Z), c = 1/p (unscaled: 1)."""

    kept: Alias

    def draw(self, stream, x, gradient):
        dim, dtype = gradient.shape[0], gradient.dtype
        assert isinstance(self.noise, Gaussian) and isinstance(self.compressor, RandomSparsification)
        weight = self.compressor.factor(dim) / self.count
        deviation = self.noise.scale(gradient)
        if build := self.native(gradient):
            table, first = self.kept.entries[0], self.kept.first[0]
            return native.many(build, gradient, stream.keys, deviation, weight, table, first), _unknown(gradient)
        normal = stream.noise.normal(dim, dtype)
        count = self.kept.sample(stream.mask.word(dim)).astype(dtype)
        return weight * (count * gradient + deviation * jnp.sqrt(count) * normal), _unknown(gradient)


class SparseOfOne(NativeLaw):
    """One agent's Bernoulli mask and Gaussian noise. A uniform u keeps a coordinate where u(1+ω) < 1; there u(1+ω) is uniform again and
    makes, with a second word, the noise. The low bits of that word refine u, so that it is fine enough however rarely a coordinate is kept.
    """

    def draw(self, stream, x, gradient):
        dim, dtype = gradient.shape[0], gradient.dtype
        assert isinstance(self.noise, Gaussian) and isinstance(self.compressor, RandomSparsification)
        deviation = self.noise.scale(gradient)
        omega, factor = self.compressor.sparsity, self.compressor.factor(dim)
        if build := self.native(gradient):
            return native.sparse(build, gradient, stream.keys, deviation, omega, factor), _unknown(gradient)
        word, angle = stream.words(dim)
        fine = ((angle & 0xFF).astype(dtype) + np.asarray(0.5, dtype)) * np.asarray(2.0**-8, dtype)
        share = (word.astype(dtype) + fine) * ((1 + omega) * np.asarray(2.0**-32, dtype))
        noisy = gradient + deviation * box_muller(share, angle)
        return jnp.where(share < 1, factor * noisy, 0), _unknown(gradient)


class IndependentSigns(NativeLaw):
    """Signs under noise with independent coordinates: the n signs of coordinate j sum to ±(n − 2 Binomial(n, P(flip_j)))."""

    flips: Flips | None

    def draw(self, stream, x, gradient):
        chance = self.noise.flip_probability(gradient)
        if build := self.native(chance):
            number = native.flips(build, chance, stream.keys, self.count)
            message = jnp.where(gradient < 0, -1.0, 1.0) * (1 - (2 / self.count) * number)
            return jnp.where(jnp.isnan(number), 0, message), _unknown(gradient)
        side, wrong = sides(gradient, chance)
        if self.flips is None:
            number = (stream.noise.uniform(gradient.shape[0], gradient.dtype) < wrong).astype(gradient.dtype)
        else:
            number = self.flips.sample(stream, wrong)
        return side * (1 - (2 / self.count) * number), _unknown(gradient)


def _unknown(gradient: Vector):
    """The mean of the agents' own norms, which these laws do not know."""
    return jnp.full((), jnp.nan, gradient.dtype)


def exact_law(problem: Problem, noise: Noise, compressor: Compressor, count: int, shared: bool) -> GroupLaw | None:
    """The law whose cost does not grow with the number of agents, where one is known."""
    common = (problem, noise, compressor, count, shared, noise.is_zero)
    if compressor.remembers:
        return None
    if noise.is_zero and compressor.deterministic:
        return Deterministic(*common)
    # Of these classes alone: a class derived from one may draw otherwise.
    gaussian, build = type(noise) is Gaussian, native.build()
    if isinstance(noise, Gaussian) and (np.ndim(noise.sigma0) or np.ndim(noise.sigma1)):
        build = None  # a deviation for each coordinate
    if gaussian and type(compressor) is RandomSparsification and not shared:
        kept = 1 / (1 + compressor.sparsity)
        return SparseOfOne(*common, build) if count == 1 else SparseGaussian(*common, build, fixed(count, kept))
    if gaussian and compressor.linear and (shared or compressor.deterministic or count == 1):
        return LinearGaussian(*common)
    if type(compressor) is Sign and noise.independent:
        served = build if 1 < count <= MOST_NATIVE_FLIPS else None
        return IndependentSigns(*common, served, None if count == 1 else Flips.of(count))
    return None
