"""The compressors' contract: unbiased, within ω, with the stated covariance, bits and refusals."""

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from stablestep.compressor import (
    QSGD,
    Identity,
    NaturalCompression,
    RandK,
    RandomSparsification,
    Sign,
    TernGrad,
    TopK,
)
from stablestep.errors import InvalidInput
from stablestep.stream import Family, Stream
from tests.statistics import assert_covariance, assert_fails, assert_fraction, assert_mean

DRAWS = 40_000
G = np.array([1.0, -0.5, 2.0, 0.3])
EIGHT = np.array([1.0, -0.5, 2.0, 0.3, 0.0, -3.0, 0.25, 1.7])


@eqx.filter_jit
def _compress(compressor, root, gradient, indices):
    def draw(index):
        return compressor.compress(
            root.child(index, Family.RUN).mask.uniform(compressor.draws(len(gradient)), gradient.dtype), gradient
        )

    return jax.vmap(draw)(indices)


def messages(compressor, gradient, seed, dtype=jnp.float64, count=DRAWS):
    found = _compress(compressor, Stream.seed(seed), jnp.asarray(gradient, dtype), jnp.arange(count, dtype=jnp.uint32))
    assert found.dtype == dtype and found.shape == (count, len(gradient))
    return np.asarray(found, np.float64)


def squared_error(compressor, gradient, seed):
    return np.sum((messages(compressor, gradient, seed) - gradient) ** 2, axis=1)


@dataclass(frozen=True)
class Case:
    compressor: object
    omega: float  # at dimension 8
    bits: float  # at dimension 8
    equality: bool = False  # E‖C(g) − g‖² = ω‖g‖² for every g


UNBIASED = {
    "identity": Case(Identity(), 0.0, 256, True),
    "bernoulli": Case(RandomSparsification(4.0), 4.0, 8 / 5 * 35, True),
    "bernoulli-0": Case(RandomSparsification(0.0), 0.0, 8 * 35, True),
    "rand-1": Case(RandK(1), 7.0, 35, True),
    "rand-3": Case(RandK(3), 5 / 3, 105, True),
    "rand-fraction": Case(RandK(fraction=0.25), 3.0, 70, True),
    "rand-all": Case(RandK(8), 0.0, 8 * 35, True),
    "rand-block": Case(RandK(2, block=2), 3.0, 2 * 32 + 2, True),
    "rand-blocks": Case(RandK(fraction=0.5, block=2), 1.0, 4 * 32 + 2 * 2, True),
    "rand-unequal-blocks": Case(RandK(fraction=0.34, block=3), 2.0, 32 * 8 / 3 + 2, True),
    "qsgd-1": Case(QSGD(1), math.sqrt(8) - 1, 32 + 8 * 2),
    "qsgd-3": Case(QSGD(3), 8 / 36, 32 + 8 * 3),
    "qsgd-8": Case(QSGD(8), 8 / 256, 32 + 8 * 5),
    "terngrad": Case(TernGrad(), (math.sqrt(8) - 1) / 2, 32 + 16),
    "natural": Case(NaturalCompression(), 0.125, 72),
}
BIASED = {
    "sign": Case(Sign(), math.nan, 8),
    "top-3": Case(TopK(3), math.nan, 105),
    "top": Case(TopK(fraction=0.25), 0, 70),
}
ALL = UNBIASED | BIASED


@pytest.mark.parametrize("name", ALL)
def test_bits_and_omega(name):
    case = ALL[name]
    assert case.compressor.bits(8) == pytest.approx(case.bits, rel=1e-14)
    assert case.compressor.unbiased == (name in UNBIASED)
    if name in BIASED:
        with pytest.raises(InvalidInput, match="is biased, so it has no ω; use"):
            case.compressor.omega(8)
    else:
        assert case.compressor.omega(8) == pytest.approx(case.omega, rel=1e-14)


@pytest.mark.parametrize("name", UNBIASED)
def test_unbiased_and_within_omega(name, seed):
    case = UNBIASED[name]
    found = messages(case.compressor, EIGHT, seed)
    assert_mean(found, EIGHT)
    error, allowed = np.sum((found - EIGHT) ** 2, axis=1), case.omega * np.sum(EIGHT**2)
    if case.equality:
        assert_mean(error, allowed)
    else:
        assert error.mean() < allowed + 5 * error.std() / np.sqrt(DRAWS)
    if case.equality and case.omega > 0:
        with assert_fails("ω · 1.1"):
            assert_mean(error, 1.1 * allowed)


def tight(name):
    root = math.sqrt(8)
    return {
        "qsgd-1": (QSGD(1), np.ones(8)),
        "qsgd-coarse": (QSGD(2), np.array([1.0, -1.0] * 8)),
        "terngrad": (TernGrad(), np.array([1.0] + [1 / (1 + root)] * 7)),
        "natural": (NaturalCompression(), np.full(8, -4 / 3)),
    }[name]


@pytest.mark.parametrize("name", ["qsgd-1", "qsgd-coarse", "terngrad", "natural"])
def test_omega_is_attained_at_the_worst_case(name, seed):
    compressor, gradient = tight(name)
    trace = np.trace(compressor.covariance(jnp.asarray(gradient), None).as_matrix())
    worst = compressor.omega(len(gradient)) * np.sum(gradient**2)
    assert trace == pytest.approx(worst, rel=1e-12)
    error = squared_error(compressor, gradient, seed)
    assert_mean(error, worst)
    with assert_fails("ω · 1.1"):
        assert_mean(error, 1.1 * worst)


@pytest.mark.parametrize("name", UNBIASED)
@pytest.mark.parametrize("dim", [1, 50])
def test_omega_bounds_the_exact_error_at_random_vectors(name, dim, seed):
    compressor, generator = UNBIASED[name].compressor, np.random.default_rng(seed)
    try:
        omega = compressor.omega(dim)
    except InvalidInput:
        return  # k > dim
    for power in (0.1, 1.0, 6.0):
        g = generator.normal(size=dim)
        g = np.sign(g) * np.abs(g) ** power
        trace = float(np.trace(compressor.covariance(jnp.asarray(g), None).as_matrix()))
        assert trace <= omega * np.sum(g**2) * (1 + 1e-10) + 1e-300


COVARIANCES = {name: case.compressor for name, case in UNBIASED.items() if case.omega > 0}


@pytest.mark.parametrize("name", COVARIANCES)
def test_covariance_of_samples(name, seed):
    compressor = COVARIANCES[name]
    expected = np.asarray(compressor.covariance(jnp.asarray(EIGHT), None).as_matrix())
    found = messages(compressor, EIGHT, seed)
    assert_covariance(found, expected)
    with assert_fails("a covariance 1.1 times too large"):
        assert_covariance(found, 1.1 * expected)


NOISE = np.array([[1.0, 0.3, 0.0, -0.2], [0.3, 0.5, 0.1, 0.0], [0.0, 0.1, 2.0, 0.0], [-0.2, 0.0, 0.0, 0.7]])


@pytest.mark.parametrize("noise", [NOISE, np.diag(np.diag(NOISE))], ids=["full", "diagonal"])
@pytest.mark.parametrize(
    "compressor",
    [Identity(), RandomSparsification(4.0), RandK(2), RandK(1), RandK(2, block=2), RandK(fraction=0.5, block=3)],
)
def test_covariance_of_a_noisy_gradient(compressor, noise, seed):
    """Cov = E Cov(C|G) + Cov G, the first term by averaging the exact conditional covariance over the noise."""
    operator = (
        lx.DiagonalLinearOperator(jnp.diag(noise))
        if np.all(noise == np.diag(np.diag(noise)))
        else lx.MatrixLinearOperator(jnp.asarray(noise))
    )
    given = np.asarray(compressor.covariance(jnp.asarray(G), operator).as_matrix())
    # E Cov(C|G) is quadratic in G: an average over the 2d points g ± √d·(root of the covariance) is exact.
    roots = np.sqrt(4) * np.linalg.cholesky(noise)
    points = np.concatenate([G + roots.T, G - roots.T])
    conditional = [np.asarray(compressor.covariance(jnp.asarray(point), None).as_matrix()) for point in points]
    np.testing.assert_allclose(given, np.mean(conditional, axis=0) + noise, atol=1e-12)


@pytest.mark.parametrize(
    ("compressor", "expected"),
    [
        (RandomSparsification(4.0), np.diag([4, 1, 16, 0.36])),
        (RandK(2), (4 * np.diag(G**2) - np.outer(G, G)) / 3),
        (TernGrad(), np.diag(2 * np.abs(G) - G**2)),
        (QSGD(1), np.diag(np.linalg.norm(G) * np.abs(G) - G**2)),
        (NaturalCompression(), np.diag([0, 0, 0, 0.05 * 0.2])),
        (Identity(), np.zeros((4, 4))),
    ],
)
def test_covariance_numbers(compressor, expected):
    np.testing.assert_allclose(compressor.covariance(jnp.asarray(G), None).as_matrix(), expected, atol=1e-12)


def test_terngrad_mean_squared_error():
    assert float(jnp.trace(TernGrad().covariance(jnp.asarray(G), None).as_matrix())) == pytest.approx(2.26, abs=1e-12)


def test_unscaled_rand_k_is_caught(seed):
    found = messages(RandK(2), EIGHT, seed) * 2 / 8
    with assert_fails("Rand-k left unscaled"):
        assert_mean(found, EIGHT)
    with assert_fails("Rand-k left unscaled"):
        assert_mean(np.sum((found - EIGHT) ** 2, axis=1), 3 * np.sum(EIGHT**2))


@pytest.mark.parametrize(("compressor", "kept"), [(RandK(3), 3), (RandK(4, block=2), 4), (RandK(fraction=0.01), 1)])
def test_rand_k_keeps_exactly_k_and_each_as_often(compressor, kept, seed):
    chosen = messages(compressor, np.ones(8), seed) != 0
    assert np.all(chosen.sum(axis=1) == kept)
    for count in chosen.sum(axis=0):
        assert_fraction(count, DRAWS, kept / 8)


def test_blocks_are_kept_whole(seed):
    chosen = messages(RandK(fraction=0.5, block=3), np.ones(8), seed, count=500) != 0
    for first, last in ((0, 3), (3, 6), (6, 8)):
        assert np.all(chosen[:, first:last] == chosen[:, first : first + 1])


GRIDS = {
    "qsgd": (QSGD(3), lambda m: np.abs(m) * 3 / np.linalg.norm(EIGHT)),
    "terngrad": (TernGrad(), lambda m: np.abs(m) / 3),
    "natural": (NaturalCompression(), lambda m: np.log2(np.abs(np.where(m == 0, 1, m)))),
}


@pytest.mark.parametrize("name", GRIDS)
def test_dithered_messages_lie_on_the_grid(name, seed):
    compressor, position = GRIDS[name]
    found = messages(compressor, EIGHT, seed, count=2000)
    np.testing.assert_allclose(position(found), np.round(position(found)), atol=1e-12)
    assert np.all(found * EIGHT >= 0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", ALL)
def test_zero_vector(name, dtype, seed):
    assert not np.any(messages(ALL[name].compressor, np.zeros(8), seed, dtype, count=50))


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e18])
@pytest.mark.parametrize("name", UNBIASED)
def test_scaling_in_float32(name, scale, seed):
    """Compressors are homogeneous under powers of two; nothing overflows or vanishes at the ends of float32."""
    factor = 2.0 ** round(math.log2(scale))
    if name.startswith("qsgd") and scale < 1e-15:
        return  # the squared norm underflows
    small = messages(UNBIASED[name].compressor, EIGHT, seed, jnp.float32, count=20)
    np.testing.assert_array_equal(
        messages(UNBIASED[name].compressor, factor * EIGHT, seed, jnp.float32, count=20), factor * small
    )


def test_sign_of_zero_is_zero(seed):
    found = messages(Sign(), np.array([0.0, -0.0, 1e-300, -5.0]), seed, count=3)
    np.testing.assert_array_equal(found, [[0, 0, 1, -1]] * 3)


def test_top_k_prefers_large_then_early_coordinates(seed):
    np.testing.assert_array_equal(messages(TopK(2), np.array([1.0, -3.0, 2.0, 3.0]), seed, count=1)[0], [0, -3, 0, 3])
    np.testing.assert_array_equal(messages(TopK(2), np.array([1.0, -1.0, 1.0]), seed, count=1)[0], [1, -1, 0])


SHARED = [
    (RandomSparsification(4.0), 8 / 5 * 32),
    (RandK(3), 96),
    (RandK(fraction=0.5, block=2), 128),
    (QSGD(3), 32 + 24),
    (Identity(), 256),
]


@pytest.mark.parametrize(("compressor", "expected"), SHARED)
def test_a_shared_mask_needs_no_indices(compressor, expected):
    assert compressor.bits(8, shared=True) == pytest.approx(expected)


@pytest.mark.parametrize(("dim", "index"), [(1, 0), (2, 1), (3, 2), (1000, 10), (1024, 10), (1025, 11)])
def test_index_bits(dim, index):
    assert RandK(1).bits(dim) == 32 + index


BAD = [
    (lambda: RandomSparsification(-1.0), r"omega is -1\.0.*at least 0"),
    (lambda: RandomSparsification(np.inf), "omega is inf.*finite"),
    (lambda: RandomSparsification([1.0, 2.0]), r"omega is \[1\.0, 2\.0\]"),
    (lambda: RandK(), "either k or fraction.*k = None, fraction = None"),
    (lambda: RandK(3, fraction=0.5), "either k or fraction.*k = 3, fraction = 0.5"),
    (lambda: RandK(0), "k is 0.*at least 1"),
    (lambda: RandK(2.5), r"k is 2\.5.*whole number"),
    (lambda: RandK(fraction=0.0), r"fraction is 0\.0.*\(0, 1\]"),
    (lambda: RandK(fraction=1.5), r"fraction is 1\.5.*\(0, 1\]"),
    (lambda: RandK(3, block=2), "k is 3.*multiple of block = 2"),
    (lambda: RandK(4, block=0), "block is 0"),
    (lambda: RandK(9).check(8), "k is 9.*only 8.*use k ≤ 8"),
    (lambda: RandK(9).omega(8), "k is 9.*only 8"),
    (lambda: RandK(9).bits(8), "k is 9.*only 8"),
    (lambda: TopK(9).check(8), "TopK: k is 9.*only 8"),
    (lambda: TopK(), "TopK needs either k or fraction"),
    (lambda: TopK(fraction=2.0), r"fraction is 2\.0"),
    (lambda: QSGD(0), "levels is 0"),
    (lambda: QSGD(1.5), r"levels is 1\.5"),
    (lambda: TernGrad().covariance(jnp.ones(2), lx.DiagonalLinearOperator(jnp.ones(2))), "samples="),
    (lambda: TopK(1).covariance(jnp.ones(2), None), "samples="),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_input(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        wrong()
