"""The law of messages whose mean or covariance has no closed form, such as a user's own compressor's: moments of draws in their place."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float, UInt32

from stablestep.errors import InvalidInput, require, seed_of, whole
from stablestep.message.group import GroupLaw
from stablestep.message.law import Law

Vector = Float[Array, " d"]


class SampledLaw(eqx.Module):
    """A law with the moments of `samples` draws where it has none in closed form.

    The draws are the same at every point, so that moments are functions of x: one model for each seed, off by the error of the sample.
    """

    exact: Law
    words: UInt32[np.ndarray | Array, "2"]
    samples: int = eqx.field(static=True)
    known_mean: bool = eqx.field(static=True)
    known_covariance: bool = eqx.field(static=True)

    @property
    def groups(self) -> tuple[GroupLaw, ...]:
        return self.exact.groups

    @property
    def differs(self) -> bool:
        """Whether groups have landscapes of their own."""
        return self.exact.differs

    def secant(self, x: Vector) -> Vector:
        """As of the law."""
        return self.exact.secant(x)

    def mean(self, x: Vector) -> Vector:
        """E M(x), or the mean of the draws."""
        return self.exact.mean(x) if self.known_mean else self.exact.mean(x, self.samples, self._key)

    def covariance(self, x: Vector) -> lx.AbstractLinearOperator:
        """Cov M(x), or the covariance of the draws."""
        return self.exact.covariance(x) if self.known_covariance else self.exact.covariance(x, self.samples, self._key)

    @property
    def _key(self):
        return jax.random.wrap_key_data(jnp.asarray(self.words))


def sampled(messages: Law, kind: str, samples: int, seed: int) -> Law | SampledLaw:
    """The law itself where it is closed, else with moments of draws.

    Raises:
        InvalidInput: where the mean is sampled and the model needs more of it than its value, or a number is out of range.
    """
    samples, seed = whole("samples", samples, least=2), seed_of(seed)
    mean, covariance = _closed(messages, messages.mean), _closed(messages, messages.covariance)
    if mean and covariance:
        return messages
    require(
        mean or kind == "first",
        f'the model "{kind}" needs how the mean message changes with x, which draws of messages do not tell, and the mean of these has no '
        'closed form; use "first".',
    )
    words = np.array([seed >> 32, seed % 2**32], np.uint32)  # of jax.random.key(seed), for every seed
    return SampledLaw(messages, words, samples, mean, covariance)


def _closed(messages: Law, moment) -> bool:
    try:
        jax.eval_shape(lambda x: jax.tree.leaves(moment(x)), jnp.zeros(messages.groups[0].problem.dim))
    except InvalidInput:
        return False
    return True
