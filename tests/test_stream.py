"""Random streams: JAX's own cipher, accurate quantiles, independent children."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from jax.scipy.special import ndtri
from scipy import stats

import stablestep
from stablestep.errors import InvalidInput
from stablestep.stream import Family, Stream, fast_log, horner, threefry, to_cosine, to_normal, to_open, to_uniform
from tests.statistics import assert_covariance, assert_distribution, assert_fails, assert_mean, assert_variance

COUNT = 100_000
LAST = 2**32 - 1

# The published test vectors of Threefry-2x32-20 (Random123, kat_vectors).
PUBLISHED = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((LAST, LAST), (LAST, LAST), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


def spread_words(count=20_001):
    """Words over the whole range, with both ends of each half."""
    ends = [0, 1, 2**31 - 1, 2**31, 2**31 + 1, LAST]
    return jnp.asarray(np.concatenate([np.linspace(0, LAST, count), ends]).astype(np.uint64).astype(np.uint32))


@pytest.mark.parametrize(("keys", "counter", "expected"), PUBLISHED)
def test_published_vectors(keys, counter, expected):
    words = threefry(*(jnp.uint32(word) for word in (*keys, *counter)))
    assert tuple(int(word) for word in words) == expected


def test_the_cipher_is_that_of_jax(seed):
    stream = Stream.seed(seed)
    left, right = stream.words(64, slot=5)
    counter = jnp.concatenate([jnp.arange(64, dtype=jnp.uint32), jnp.full(64, 5, jnp.uint32)])
    theirs = threefry_2x32(jnp.stack([stream.key0, stream.key1]), counter)
    assert np.array_equal(np.concatenate([left, right]), theirs)


def test_a_key_and_its_stream_are_the_same(seed):
    key = jax.random.key(seed, impl="threefry2x32")
    assert np.array_equal(jax.random.key_data(Stream.of(key).key()), jax.random.key_data(key))
    assert np.array_equal(Stream.seed(seed).words(3)[0], Stream.of(key).words(3)[0])


def test_other_key_kinds_are_hashed(seed):
    first, second = (Stream.of(jax.random.key(seed + i, impl="rbg")).words(100)[0] for i in range(2))
    assert not np.any(np.asarray(first) == np.asarray(second))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_normal_quantile(dtype):
    words = spread_words()
    tail = (np.asarray(words & 0x7FFFFFFF, np.float64) + 0.5) * 2.0**-31
    sign = np.where(np.asarray(words) >> 31 == 1, -1.0, 1.0)
    expected = sign * stats.norm.isf(tail / 2)
    found = np.asarray(to_normal(words, dtype), np.float64)
    assert found.dtype == np.float64 and to_normal(words, dtype).dtype == dtype
    if dtype == jnp.float64:
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)
        return
    bulk = np.abs(expected) < 5.5
    np.testing.assert_allclose(found[bulk], expected[bulk], rtol=3e-6, atol=1e-7)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_uniforms_stay_in_their_intervals(dtype):
    ends = jnp.array([0, 1, LAST - 1, LAST], jnp.uint32)
    closed, opened = to_uniform(ends, dtype), to_open(ends, dtype)
    assert closed[0] == 0 and bool(jnp.all(closed < 1))
    assert bool(jnp.all((opened > 0) & (opened <= 1)))
    assert closed.dtype == opened.dtype == dtype


def test_fast_log():
    values = np.geomspace(1e-37, 1e37, 20_001).astype(np.float32)
    error = np.abs(np.asarray(fast_log(jnp.asarray(values)), np.float64) - np.log(values.astype(np.float64)))
    assert np.max(error / np.maximum(1, np.abs(np.log(values)))) < 2e-7


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_cosine(dtype):
    words = spread_words()
    part = (np.asarray(words & 0x7FFFFFFF, np.float64) + 0.5) * 2.0**-31
    expected = np.where(np.asarray(words) >> 31 == 1, -1, 1) * np.sin(np.pi * part / 2)
    np.testing.assert_allclose(np.asarray(to_cosine(words, dtype), np.float64), expected, rtol=4e-7)


def test_horner():
    x = jnp.linspace(-2.0, 2.0, 7)
    np.testing.assert_allclose(horner((2.0, -1.0, 0.5), x), np.polyval([2.0, -1.0, 0.5], x), atol=1e-15)


LAWS = {
    "normal": (lambda s, dtype: s.noise.normal(COUNT, dtype), stats.norm()),
    "increment": (lambda s, dtype: s.noise.increment(COUNT, dtype), stats.norm()),
    "uniform": (lambda s, dtype: s.mask.uniform(COUNT, dtype), stats.uniform()),
    "cosine": (lambda s, dtype: to_cosine(s.words(COUNT)[0], dtype), stats.arcsine(-1, 2)),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", LAWS)
def test_law(name, dtype, seed):
    draw, law = LAWS[name]
    samples = np.asarray(draw(Stream.seed(seed), dtype), np.float64)
    assert_distribution(samples, law.cdf)
    assert_mean(samples, law.mean())
    assert_variance(samples, law.var())
    with assert_fails("a variance 1.1 times too large"):
        assert_variance(samples, 1.1 * law.var())
    with assert_fails("a scale 1.1 times too large"):
        assert_distribution(samples, lambda x: law.cdf(x / 1.1))


def test_fourth_moment_of_the_normal(seed):
    samples = np.asarray(Stream.seed(seed).noise.normal(COUNT, jnp.float32), np.float64)
    assert_mean(samples**4, 3.0)
    with assert_fails():
        assert_mean(samples**4, 3.3)


def family(seed):
    """The streams that one run, its neighbours and its children use, and everything that their lanes draw: a column each, normal."""
    root = Stream.seed(seed)
    streams = [
        root,
        *(root.child(i, Family.RUN) for i in range(3)),
        root.child(0, Family.STEP),
        root.child(0, Family.RUN),
    ]
    streams[-1] = streams[-1].child(0, Family.RUN)
    columns = [stream.noise.normal(COUNT // 4, jnp.float64) for stream in streams]
    for lane in (root.noise, root.mask):
        columns += [lane.normal(COUNT // 4, jnp.float64, slot) for slot in (0, 1, 2)][lane.side == 0 :]
        columns += [ndtri(lane.uniform(COUNT // 4, jnp.float64, slot) + 2.0**-33) for slot in (0, 1, 2)]
        columns += [to_normal(word, jnp.float64) for slot in (0, 1) for word in lane.words(COUNT // 4, slot)]
        columns += [
            lane.child().noise.normal(COUNT // 4, jnp.float64),
            jax.random.normal(lane.key(), (COUNT // 4,), jnp.float64),
        ]
    return np.stack([np.asarray(column) for column in columns], axis=1)


def test_children_lanes_slots_and_words_are_independent(seed):
    samples = family(seed)
    assert_covariance(samples, np.eye(samples.shape[1]))
    assert_covariance(samples**2, 2 * np.eye(samples.shape[1]))
    repeated = samples[:, [0, 1, 2, 1]]
    with assert_fails("a stream used twice"):
        assert_covariance(repeated, np.eye(4))


def test_neighbouring_children_are_independent(seed):
    root = Stream.seed(seed)
    indices = jnp.arange(20_000, dtype=jnp.uint32)
    samples = np.asarray(jax.jit(jax.vmap(lambda i: root.child(i, Family.RUN).noise.normal(4, jnp.float64)))(indices))
    lagged = np.concatenate([samples[:-1], samples[1:]], axis=1)
    assert_covariance(lagged, np.eye(8))


def test_children_never_repeat_words_or_each_other(seed):
    root = Stream.seed(seed)
    keys = [(int(c.key0), int(c.key1)) for one in Family for c in (root.child(i, one) for i in range(20))]
    assert len(set(keys)) == len(keys)


def test_a_traced_index_gives_the_same_child(seed):
    root = Stream.seed(seed)
    traced = jax.jit(lambda i: root.child(i, Family.RUN).words(3))(jnp.int32(7))
    assert np.array_equal(traced, root.child(7, Family.RUN).words(3))


def test_every_family_is_in_the_one_list():
    """Two uses of one number would share their randomness without a word: numbers stand in `Family` alone."""
    assert len({int(one) for one in Family}) == len(Family)
    written = re.compile(r"\.child(?:ren)?\(")
    for path in sorted(Path(stablestep.__file__).parent.rglob("*.py")):
        for line in path.read_text().splitlines():
            if written.search(line) and path.name != "stream.py" and "torch" not in path.parts:
                assert "Family." in line or line.endswith("index, family)"), f"{path.name}: {line.strip()}"


@pytest.mark.parametrize("wrong", [1.7, "1", None, -1, 2**64, True, np.float64(3)])
def test_what_is_no_seed_is_said(wrong):
    with pytest.raises(InvalidInput, match="seed is"):
        Stream.seed(wrong)


def test_every_seed_is_another_stream():
    seeds = [0, 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1]
    assert len({(int(s.key0), int(s.key1)) for s in map(Stream.seed, seeds)}) == len(seeds)
    assert int(Stream.seed(np.int8(7)).key1) == int(Stream.seed(np.uint64(7)).key1) == 7


def test_a_lanes_key_needs_no_64_bits():
    """As in a script that leaves JAX as it is."""
    with jax.enable_x64(False):
        assert jax.random.key_data(Stream.seed(0).noise.key()).shape == (2,)
