"""Counter-based random streams: JAX's own cipher, written so that XLA fuses it into the arithmetic that uses it.

A stream is a Threefry-2x32 key. `child` derives independent streams (one for each run, step, group and agent); `words` encrypts the
coordinate numbers. Noise and compression draw from two lanes of a stream, which cannot meet. Nothing depends on how runs are split
into chunks or devices.
"""

from enum import IntEnum
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key, UInt32

from stablestep import native
from stablestep.errors import seed_of

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_CHILD = np.uint32(0x80000000)  # children live in the half of the counters that words never use
_SLOTS = 1 << 31
_PAIRS = 1 << 30  # slots from here on belong to one lane alone


class Family(IntEnum):
    """Every family of streams that a stream has as children. Two uses that share one would share their randomness: each has its own."""

    AGENT = 1  # an agent of a group
    NOISE = 2  # what a noise derives from its lane
    GROUP = 3  # a group of agents
    RUN = 4  # a run of a Monte Carlo
    STEP = 5  # an iteration of a run
    START = 6  # a run's random first point
    BLOCK = 7  # a block of agents whose signs are counted together
    SUBSTEP = 8  # a piece of an iteration, along a Brownian path
    BATCH = 9  # a round of members
    MESSAGE = 10  # a message at a start
    MASK = 11  # what a compressor derives from its lane


def threefry(key0, key1, count0, count1) -> tuple[Any, Any]:
    """Threefry-2x32 with 20 rounds of the counter `(count0, count1)`, uint32 words of JAX or NumPy; the cipher behind `jax.random`.

    Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011).

    >>> words = threefry(*map(jnp.uint32, (0, 0, 0, 0)))
    >>> [hex(int(word)) for word in words]
    ['0x6b200159', '0x99ba4efe']
    """
    keys = (key0, key1, key0 ^ key1 ^ np.uint32(0x1BD11BDA))
    left, right = count0 + key0, count1 + key1
    for block in range(5):
        for rotation in _ROTATIONS[block % 2]:
            left = left + right
            right = (right << rotation) | (right >> (32 - rotation))
            right = right ^ left
        left = left + keys[(block + 1) % 3]
        right = right + keys[(block + 2) % 3] + np.uint32(block + 1)
    return left, right


# One call in what is traced, and not a hundred operations: tracing is what a compiled and kept kernel still costs.
_cipher = jax.jit(threefry)


class Stream(eqx.Module):
    """An independent source of random numbers, addressed by coordinate and slot.

    One call of the cipher gives two words for each coordinate. What noise and compression need comes from the lanes `noise` and `mask`.

    >>> stream = Stream.seed(0)
    >>> stream.noise.normal(3, jnp.float32).shape
    (3,)
    """

    key0: UInt32[Array | np.ndarray, "*streams"]
    key1: UInt32[Array | np.ndarray, "*streams"]

    @staticmethod
    def seed(seed: int) -> "Stream":
        """The stream of a seed: a whole number in [0, 2⁶⁴).

        Raises:
            InvalidInput: for anything else.
        """
        # The words of `jax.random.key(seed)`, which JAX would compile a function for.
        halves = divmod(seed_of(seed), 1 << 32)
        return Stream(*(np.asarray(half, np.uint32) for half in halves))

    @staticmethod
    def of(key: Key[Array, ""]) -> "Stream":
        """The stream of a JAX key (of any implementation: other keys are hashed into one)."""
        words = jax.random.key_data(key)
        if words.shape[-1] != 2:
            words = jax.random.bits(key, (2,), jnp.uint32)
        return Stream(words[0], words[1])

    @property
    def keys(self) -> tuple[UInt32[Array, ""], UInt32[Array, ""]]:
        """Both words of the key, for what encrypts by itself."""
        return jnp.asarray(self.key0), jnp.asarray(self.key1)

    def child(self, index, family: Family) -> "Stream":
        """The stream number `index` (an integer, possibly traced) of a family."""
        if isinstance(self.key0, np.ndarray) and self.key0.ndim == 0 and not isinstance(index, jax.Array):
            return self.children(np.asarray(index).astype(np.uint32), family)
        count = jnp.asarray(index).astype(jnp.uint32)
        # The barrier keeps XLA from encrypting the key anew for every coordinate.
        return Stream(*lax.optimization_barrier(_cipher(self.key0, self.key1, count, _CHILD | np.uint32(family))))

    def children(self, indices: UInt32[np.ndarray, "*n"], family: Family) -> "Stream":
        """The streams that `child` gives for these indices, as arrays, in NumPy: nothing is compiled.

        >>> root = Stream.seed(0)
        >>> int(root.children(np.arange(8, dtype=np.uint32), Family.RUN).key0[3]) == int(root.child(3, Family.RUN).key0)
        True
        """
        key0, key1 = (np.full_like(indices, key) for key in (self.key0, self.key1))
        with np.errstate(over="ignore"):  # of which NumPy warns where there is a single index
            words = threefry(key0, key1, indices, np.full_like(indices, _CHILD | np.uint32(family)))
        return Stream(*map(np.asarray, words))

    def words(self, count: int, slot: int = 0) -> tuple[UInt32[Array, " count"], UInt32[Array, " count"]]:
        """Both words of `count` coordinates."""
        return _cipher(self.key0, self.key1, lax.iota(jnp.uint32, count), np.uint32(slot % _SLOTS))

    @property
    def noise(self) -> "Lane":
        """The lane of noise: gradient noise, and Brownian increments."""
        return Lane(self, 0)

    @property
    def mask(self) -> "Lane":
        """The lane of compression."""
        return Lane(self, 1)

    def key(self) -> Key[Array, ""]:
        """A JAX key for what only `jax.random` can draw; everything below it is used up by it."""
        return jax.random.wrap_key_data(jnp.stack([self.key0, self.key1]), impl="threefry2x32")


class Lane(eqx.Module):
    """One of the two halves of a stream's random numbers: whatever is drawn from one is independent of whatever is drawn from the other.

    Within a lane `normal`, `uniform`, `words` (of which `increment` is made) and `child` are independent of each other, and so are their
    slots; the same call again gives the same numbers. The first normal of the noise lane and the first uniform of the mask lane are the two
    words of one call of the cipher, so that a noisy, masked coordinate costs a single call.

    >>> stream = Stream.seed(0)
    >>> bool(stream.noise.uniform(4, jnp.float32)[0] == stream.mask.uniform(4, jnp.float32)[0])
    False
    """

    stream: Stream
    side: int = eqx.field(static=True)

    def normal(self, count: int, dtype, slot: int = 0) -> Float[Array, " count"]:
        """Standard normal numbers."""
        return to_normal(self.word(count, 2 * slot + self.side), dtype)

    def increment(self, count: int, dtype, slot: int = 0) -> Float[Array, " count"]:
        """Standard normal numbers of both words of a call: quicker than `normal` where no other word of that call is needed."""
        if (build := native.build()) and dtype == jnp.float32:
            return native.normal(build, self.stream.keys, count, self._slot(slot))
        first, second = self.words(count, slot)
        return box_muller(to_open(first, dtype), second)

    def uniform(self, count: int, dtype, slot: int = 0) -> Float[Array, " count"]:
        """Uniform numbers on [0, 1)."""
        return to_uniform(self.word(count, 2 * slot + 1 - self.side), dtype)

    def word(self, count: int, place: int = 0) -> UInt32[Array, " count"]:
        """This lane's word at a place: of the even ones noise makes normals and compression uniforms, of the odd ones the reverse."""
        return self.stream.words(count, place % _PAIRS)[self.side]

    def words(self, count: int, slot: int = 0) -> tuple[UInt32[Array, " count"], UInt32[Array, " count"]]:
        """Two independent words of 32 bits for each coordinate, for the price of one call of the cipher."""
        return self.stream.words(count, self._slot(slot))

    def _slot(self, slot: int) -> int:
        return _PAIRS + (2 * slot + self.side) % _PAIRS

    def child(self, index: Any = 0) -> Stream:
        """A stream of its own, number `index`, for whatever else is needed."""
        return self.stream.child(index, Family.NOISE if self.side == 0 else Family.MASK)

    def key(self) -> Key[Array, ""]:
        """A JAX key, for what only `jax.random` can draw."""
        return self.child(_KEY).key()


_KEY = np.uint32(0xFFFFFFFF)  # the child that `Lane.key` uses up


def to_uniform(word: UInt32[Array, "*n"], dtype) -> Float[Array, "*n"]:
    """Uniform on [0, 1) with the word's 32 bits; never 1, so that `u < 1` always holds.

    >>> bool(to_uniform(jnp.uint32(2**32 - 1), jnp.float32) < 1)
    True
    """
    value = word.astype(dtype) * jnp.asarray(2.0**-32, dtype)
    return jnp.minimum(value, jnp.asarray(1 - jnp.finfo(dtype).epsneg, dtype))


def to_open(word: UInt32[Array, "*n"], dtype) -> Float[Array, "*n"]:
    """Uniform on (0, 1], for logarithms."""
    return (word.astype(dtype) + jnp.asarray(0.5, dtype)) * jnp.asarray(2.0**-32, dtype)


def to_normal(word: UInt32[Array, "*n"], dtype) -> Float[Array, "*n"]:
    """Standard normal by inversion of one word: a sign bit and a 31-bit tail probability (so |z| < 6.4).

    In float32 by M. Giles' polynomials (Approximating the erfinv function, GPU Computing Gems 2, 2011), several times faster than
    `erf_inv` (relative error 1e-6 up to |z| = 5.5, 4e-4 at the end); in float64 by `ndtri`.

    >>> round(float(to_normal(jnp.uint32(0x40000000), jnp.float32)), 4)
    0.6745
    """
    tail = ((word & np.uint32(0x7FFFFFFF)).astype(dtype) + jnp.asarray(0.5, dtype)) * jnp.asarray(2.0**-31, dtype)
    magnitude = _quantile32(tail) if dtype == jnp.float32 else -jax.scipy.special.ndtri(tail / 2)
    return jnp.where((word >> 31) == 1, -magnitude, magnitude)


_CENTRE = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503)
_CENTRE += (-0.00417768164, 0.246640727, 1.50140941)
_TAIL = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613)
_TAIL += (0.00943887047, 1.00167406, 2.83297682)


def _quantile32(tail):
    """√2 · erfinv(1 − tail), the normal quantile with two-sided tail probability `tail`."""
    width = fast_log(tail * (2 - tail), -1.0)
    near = horner(_CENTRE, width - np.float32(2.5))
    far = horner(_TAIL, jnp.sqrt(width) - 3)
    return np.float32(2**0.5) * jnp.where(width < 5, near, far) * (1 - tail)


# log(1 + f)/f for 1 + f in [√½, √2), to 3e-8.
_LOG = (0.0872235971, -0.143668451, 0.149522661, -0.165623927, 0.199568336, -0.250020741, 0.333341856)
_LOG += (-0.49999988, 0.999999974)


def fast_log(value: Float[Array, "*n"], times: float = 1.0) -> Float[Array, "*n"]:
    """`times` log of positive normal float32 numbers by a polynomial, which vectorises where `jnp.log` does not.

    >>> round(float(fast_log(jnp.float32(10.0))), 5)
    2.30259
    """
    bits = lax.bitcast_convert_type(value, jnp.int32)
    exponent = (bits - np.int32(0x3F3504F3)) >> 23
    part = lax.bitcast_convert_type(bits - (exponent << 23), jnp.float32) - 1
    series = horner([times * coefficient for coefficient in _LOG], part)
    return part * series + exponent.astype(jnp.float32) * np.float32(times * np.log(2))


def box_muller(uniform: Float[Array, "*n"], angle: UInt32[Array, "*n"]) -> Float[Array, "*n"]:
    """Standard normal numbers √(−2 log u) cos(angle) of a uniform on (0, 1] and a word (G. Box and M. Muller, 1958).

    >>> round(float(box_muller(jnp.float32(0.5), jnp.uint32(0x40000000))), 4)
    0.8326
    """
    square = fast_log(uniform, -2.0) if uniform.dtype == jnp.float32 else -2 * jnp.log(uniform)
    return jnp.sqrt(square) * to_cosine(angle, uniform.dtype)


# sin(πv/2)/v in v² for v in [0, 1], to 5e-9.
_SINE = (0.0001514851308, -0.004673766613, 0.07968967895, -0.6459637106, 1.570796318)


def to_cosine(word: UInt32[Array, "*n"], dtype) -> Float[Array, "*n"]:
    """The cosine of a uniform angle: a sign bit and sin(πv/2) of a 31-bit uniform v, by a polynomial (relative error 1e-7).

    >>> round(float(to_cosine(jnp.uint32(0x40000000), jnp.float32)), 4)
    0.7071
    """
    part = ((word & np.uint32(0x7FFFFFFF)).astype(dtype) + jnp.asarray(0.5, dtype)) * jnp.asarray(2.0**-31, dtype)
    value = part * horner(_SINE, part * part)
    return jnp.where((word >> 31) == 1, -value, value)


def horner(coefficients, variable: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The polynomial with these coefficients, highest power first."""
    total = jnp.full_like(variable, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * variable + jnp.asarray(coefficient, variable.dtype)
    return total
