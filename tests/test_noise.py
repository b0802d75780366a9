"""Noise: its moments, its distribution function, how often it flips a sign, and what it refuses."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, Minibatch, StudentT
from stablestep.problem import FiniteSum, Logistic, Quadratic
from stablestep.record import cast
from stablestep.stream import Family, Stream
from tests.statistics import (
    assert_counts,
    assert_covariance,
    assert_distribution,
    assert_fails,
    assert_fraction,
    assert_mean,
)

DRAWS = 30_000
X = np.array([1.0, -0.5, 2.0])
NORM = float(np.linalg.norm(X))
FEATURES = np.random.default_rng(5).normal(size=(12, 3))
LOGISTIC = Logistic(FEATURES, np.arange(12) % 2)
PLAIN = Quadratic(np.ones(3))


@eqx.filter_jit
def sample(noise, problem, root, x, indices):
    gradient = problem.gradient(x)
    return jax.vmap(lambda i: noise.sample(root.child(i, Family.RUN).noise, problem, x, gradient))(indices) - gradient


def draws(noise, seed, problem=PLAIN, dtype=jnp.float64, count=DRAWS):
    """Stochastic gradients at X less the exact one."""
    indices = jnp.arange(count, dtype=jnp.uint32)
    found = sample(cast(noise, dtype), cast(problem, dtype), Stream.seed(seed), jnp.asarray(X, dtype), indices)
    assert found.dtype == dtype
    return np.asarray(found, np.float64)


def covariance(noise, problem=PLAIN):
    x = jnp.asarray(X)
    return np.asarray(noise.covariance(problem, x, problem.gradient(x)).as_matrix())


SCALES = np.array([0.5, 1.0, 3.0])
# Independent derivations; Student-t with ν > 4 so that the sample variance has a standard error.
COVARIANCES = {
    "gaussian": (Gaussian(0.7), PLAIN, 0.49 * np.eye(3)),
    "gaussian-relative": (Gaussian(sigma1=0.3), PLAIN, 0.09 * NORM**2 * np.eye(3)),
    "gaussian-both": (Gaussian(0.7, 0.3), PLAIN, (0.49 + 0.09 * NORM**2) * np.eye(3)),
    "gaussian-vector": (Gaussian(SCALES, 0.1 * SCALES), PLAIN, np.diag(SCALES**2 * (1 + 0.01 * NORM**2))),
    "student-12": (StudentT(12.0, 2.0), PLAIN, 4 * 1.2 * np.eye(3)),
    "student-vector": (StudentT(12.0, SCALES), PLAIN, 1.2 * np.diag(SCALES**2)),
    "student-multivariate": (StudentT(12.0, SCALES, "multivariate"), PLAIN, 1.2 * np.diag(SCALES**2)),
    "student-normal": (StudentT(np.inf, 2.0), PLAIN, 4 * np.eye(3)),
    "minibatch-1": (Minibatch(1), LOGISTIC, None),
    "minibatch-5": (Minibatch(5), LOGISTIC, None),
}


def term_covariance(problem, batch):
    terms = np.asarray(problem.term_gradients(jnp.asarray(X)))
    return np.cov(terms, rowvar=False, bias=True) / batch


@pytest.mark.parametrize("name", COVARIANCES)
def test_moments(name, seed):
    noise, problem, expected = COVARIANCES[name]
    expected = term_covariance(problem, noise.batch_size) if expected is None else expected
    np.testing.assert_allclose(covariance(noise, problem), expected, rtol=1e-10, atol=1e-12)
    samples = draws(noise, seed, problem)
    assert_mean(samples, np.zeros(3))
    assert_covariance(samples, expected)
    with assert_fails("a covariance 1.1 times too large"):
        assert_covariance(samples, 1.1 * expected)


LAWS = {
    "gaussian": (Gaussian(0.7, 0.3), lambda x: stats.norm.cdf(x / np.sqrt(0.49 + 0.09 * NORM**2))),
    "normal": (StudentT(np.inf, 2.0), stats.norm(scale=2).cdf),
    "normal-multivariate": (StudentT(np.inf, 2.0, "multivariate"), stats.norm(scale=2).cdf),
} | {
    f"student-{df}-{coordinates}": (StudentT(df, 2.0, coordinates), stats.t(df, scale=2).cdf)
    for df, coordinates in [*((df, "independent") for df in (0.5, 1.0, 2.0, 2.5, 30.0)), (0.5, "multivariate")]
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", LAWS)
def test_distribution_function(name, dtype, seed):
    noise, cdf = LAWS[name]
    samples = draws(noise, seed, dtype=dtype)
    assert_distribution(samples, cdf)
    with assert_fails("a scale 1.3 times too large"):
        assert_distribution(samples, lambda x: cdf(x / 1.3))


def test_df_3_variance_by_truncation(seed):
    """Student-t with ν = 3 has no fourth moment, so its variance is compared where it is bounded."""
    samples = np.clip(draws(StudentT(3.0), seed) ** 2, 0, 100)
    law = stats.t(3)
    expected = law.expect(lambda x: min(x * x, 100.0), -10, 10) + 200 * law.sf(10)
    assert_mean(samples, np.full(3, expected))
    with assert_fails():
        assert_mean(samples, np.full(3, 1.1 * expected))
    np.testing.assert_allclose(covariance(StudentT(3.0, 2.0)), 12 * np.eye(3), rtol=1e-12)


@pytest.mark.parametrize("quantile", [0.05, 0.25, 0.5, 0.9, 0.999])
def test_cauchy_quantiles(quantile, seed):
    samples = draws(StudentT(1.0, 2.0), seed)[:, 0]
    below = np.sum(samples < 2 * np.tan(np.pi * (quantile - 0.5)))
    assert_fraction(below, DRAWS, quantile)


FLIPS = {
    "gaussian": Gaussian(0.7, 0.3),
    "gaussian-vector": Gaussian(SCALES),
    "normal": StudentT(np.inf, 2.0),
    "normal-multivariate": StudentT(np.inf, 2.0, "multivariate"),
} | {f"student-{df}": StudentT(df, SCALES) for df in (0.5, 1.0, 1.5, 2.0, 2.5, 5.0, 30.0)}


@pytest.mark.parametrize("name", FLIPS)
def test_flip_probability(name, seed):
    dtype = jnp.float32
    noise, x = FLIPS[name], jnp.asarray(X, dtype)
    noisy = X + draws(noise, seed, dtype=dtype)
    found = np.asarray(cast(noise, dtype).flip_probability(PLAIN.gradient(x)), np.float64)
    wrong = np.sum(noisy * np.sign(X) < 0, axis=0)
    for count, probability in zip(wrong, found, strict=True):
        assert_fraction(count, DRAWS, probability)
    with assert_fails("a flip probability 1.2 times too large"):
        assert_fraction(wrong.max(), DRAWS, 1.2 * found[np.argmax(wrong)])


@pytest.mark.parametrize("df", [0.5, 1.0, 1.5, 2.0, 2.5, 5.0, 30.0, np.inf])
def test_flip_probability_against_scipy(df):
    gradient = jnp.asarray(np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 200)]))
    law = stats.norm(scale=2) if np.isinf(df) else stats.t(df, scale=2)
    np.testing.assert_allclose(StudentT(df, 2.0).flip_probability(gradient), law.sf(gradient), rtol=1e-8, atol=1e-300)
    single = cast(StudentT(df, 2.0), jnp.float32).flip_probability(gradient.astype(jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, law.sf(gradient), atol=4e-7)


def test_multivariate_coordinates_are_dependent_and_independent_ones_are_not(seed):
    """Not through the covariance, which is 0 for both, but through the squares, which a shared χ² moves together."""
    squares = {
        kind: np.minimum((draws(StudentT(6.0, SCALES, kind), seed) / SCALES) ** 2, 9)
        for kind in ("independent", "multivariate")
    }
    variance = np.diag(np.diag(np.cov(squares["independent"], rowvar=False)))
    assert_covariance(squares["independent"], variance)
    with assert_fails("multivariate coordinates"):
        assert_covariance(squares["multivariate"], np.diag(np.diag(np.cov(squares["multivariate"], rowvar=False))))
    assert np.corrcoef(squares["multivariate"], rowvar=False)[0, 1] > 0.05


def test_multivariate_radius_follows_an_f_law(seed):
    """‖T‖²/d ~ F(d, ν) for T ~ t_ν(0, I_d)."""
    samples = draws(StudentT(2.5, coordinates="multivariate"), seed)
    assert_distribution(np.mean(samples**2, axis=1), stats.f(3, 2.5).cdf)
    with assert_fails("independent coordinates"):
        assert_distribution(np.mean(draws(StudentT(2.5), seed) ** 2, axis=1), stats.f(3, 2.5).cdf)


def test_minibatch_picks_every_datum_equally(seed):
    data = np.arange(7.0)[:, None]
    problem = FiniteSum(lambda x, point: jnp.sum(x * point), data, dim=1)
    x, stream = jnp.zeros(1), Stream.seed(seed)
    draw = jax.jit(
        jax.vmap(lambda i: Minibatch(1).sample(stream.child(i, Family.RUN).noise, problem, x, problem.gradient(x)))
    )
    picked = np.asarray(draw(jnp.arange(DRAWS, dtype=jnp.uint32)))[:, 0].round().astype(int)
    assert_counts(np.bincount(picked, minlength=7), np.full(7, 1 / 7))


@pytest.mark.parametrize(
    ("noise", "mean", "variance"),
    [
        (Gaussian(1.0), True, True),
        (StudentT(0.5), False, False),
        (StudentT(1.0), False, False),
        (StudentT(1.5), True, False),
        (StudentT(2.0), True, False),
        (StudentT(2.1), True, True),
        (StudentT(np.inf), True, True),
        (Minibatch(2), True, True),
    ],
)
def test_which_moments_exist(noise, mean, variance):
    assert noise.has_mean == mean and noise.has_variance == variance
    if not variance:
        for ask in (lambda: covariance(noise), lambda: noise.affine_variance(3)):
            with pytest.raises(InvalidInput, match=rf"df = {noise.df} .*df > 2"):
                ask()


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        (Gaussian(2.0, 0.5), (4.0, 0.25)),
        (Gaussian(SCALES, [0.1, 0.3, 0.2]), (9.0, 0.09)),
        (StudentT(3.0, 2.0), (12.0, 0.0)),
        (StudentT(np.inf, SCALES), (9.0, 0.0)),
    ],
)
def test_affine_variance(noise, expected):
    assert noise.affine_variance(3) == pytest.approx(expected)
    j = int(np.argmax(np.diag(covariance(noise))))
    assert covariance(noise)[j, j] <= expected[0] + expected[1] * NORM**2 + 1e-12


@pytest.mark.parametrize("noise", [Gaussian(), StudentT(2.5, 0.0), StudentT(2.5, 0.0, "multivariate")])
def test_no_noise(noise, seed):
    assert noise.is_zero
    assert np.all(draws(noise, seed, count=100) == 0)


BAD = [
    (lambda: Gaussian(-1.0), r"sigma0 is -1\.0.*at least 0"),
    (lambda: Gaussian(1.0, [0.1, -0.2]), r"sigma1 is .*-0\.2.*at least 0"),
    (lambda: Gaussian(np.nan), "sigma0 is nan.*finite"),
    (lambda: Gaussian(np.ones((2, 2))), r"sigma0 .*shape \(2, 2\)"),
    (lambda: Gaussian(np.ones(2)).check(PLAIN), "sigma0 has 2 entries.*3 coordinates"),
    (lambda: Gaussian(1.0, np.ones(4)).check(PLAIN), "sigma1 has 4 entries.*3 coordinates"),
    (lambda: StudentT(0.0), r"df is 0\.0.*greater than 0"),
    (lambda: StudentT(-1), "df is -1.*greater than 0"),
    (lambda: StudentT(np.nan), "df is nan.*greater than 0"),
    (lambda: StudentT([1.0, 2.0]), r"df is \[1\.0, 2\.0\]"),
    (lambda: StudentT(2.0, -1.0), r"scale is -1\.0.*at least 0"),
    (lambda: StudentT(2.0, coordinates="joint"), 'coordinates is "joint".*"independent" or "multivariate"'),
    (lambda: StudentT(2.0, np.ones(2)).check(PLAIN), "scale has 2 entries.*3 coordinates"),
    (lambda: Minibatch(0), "batch_size is 0"),
    (lambda: Minibatch(2).check(PLAIN), "finite sum.*Quadratic"),
    (lambda: Minibatch(2).affine_variance(3), "affine variance"),
    (lambda: Minibatch(2).flip_probability(jnp.ones(3)), "sampling='agents'"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_input(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        wrong()
