"""The one place where statistical thresholds live.

Every check here fails a correct program with probability at most `ALARM` = 5.7e-7 (a normal variable beyond 5 standard
errors), however many coordinates it compares: a suite of 1000 checks raises a false alarm once in 1700 runs. Thresholds
of means rest on the central limit theorem, so samples with heavy tails need a transformation first: a CDF, a sign.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

Z = 5.0
ALARM = 2 * float(stats.norm.sf(Z))


class Disagreement(AssertionError):
    """Samples that a statistical check rejects."""


def threshold(comparisons: int, z: float = Z) -> float:
    """The number of standard errors that any of `comparisons` normal variables exceeds as rarely as one exceeds `z`."""
    return float(stats.norm.isf(stats.norm.sf(z) / comparisons))


def assert_mean(samples: ArrayLike, expected: ArrayLike, z: float = Z) -> None:
    """Samples (n, ...) have the mean `expected` (...), elementwise within z standard errors."""
    samples, expected = _float64(samples), np.asarray(expected, np.float64)
    mean, error = samples.mean(0), samples.std(0, ddof=1) / np.sqrt(len(samples))
    _assert_near("mean", mean, expected, error, threshold(mean.size, z), _rounding(samples))


def assert_equal_means(a: ArrayLike, b: ArrayLike, z: float = Z) -> None:
    """Independent samples (n, ...) and (m, ...) have equal means."""
    a, b = _float64(a), _float64(b)
    error = np.sqrt(a.var(0, ddof=1) / len(a) + b.var(0, ddof=1) / len(b))
    _assert_near("mean", a.mean(0), b.mean(0), error, threshold(a[0].size, z), _rounding(a) + _rounding(b))


def assert_covariance(samples: ArrayLike, expected: ArrayLike, z: float = Z, mean: ArrayLike | None = None) -> None:
    """Samples (n, d) have the covariance `expected` (d, d).

    Give the `mean` where it is known exactly and the samples may take two values equally often: (x − mean)² is then one number, and
    what the sample mean adds to it has no standard error.
    """
    samples = _float64(samples)
    centered = samples - (samples.mean(0) if mean is None else np.asarray(mean, np.float64))
    freedom = len(samples) - (mean is None)
    products = centered[:, :, None] * centered[:, None, :]
    assert_mean(products * len(samples) / freedom, expected, z)


def assert_variance(samples: ArrayLike, expected: ArrayLike, z: float = Z) -> None:
    """Samples (n, ...) have the variances `expected` (...), elementwise."""
    samples = _float64(samples)
    assert_mean((samples - samples.mean(0)) ** 2 * len(samples) / (len(samples) - 1), expected, z)


def assert_same_distribution(a: ArrayLike, b: ArrayLike) -> None:
    """Independent samples (n, ...) and (m, ...) have the same law, coordinate by coordinate (Kolmogorov-Smirnov).

    Atoms make the test stricter on itself, never on the program; the dependence between coordinates is not tested.
    """
    a, b = _columns(a), _columns(b)
    tests = [stats.ks_2samp(left, right, method="asymp") for left, right in zip(a.T, b.T, strict=True)]
    _reject_below(min(tests, key=lambda test: test.pvalue), len(tests), "the two samples differ in law")


def assert_distribution(samples: ArrayLike, cdf: Callable[[np.ndarray], np.ndarray]) -> None:
    """Samples (n, ...) follow the continuous `cdf`, coordinate by coordinate (Kolmogorov-Smirnov)."""
    columns = _columns(samples)
    tests = [stats.kstest(column, cdf) for column in columns.T]
    _reject_below(min(tests, key=lambda test: test.pvalue), len(tests), "the sample does not follow the stated law")


def assert_counts(counts: ArrayLike, probabilities: ArrayLike, least: float = 20.0) -> None:
    """Counts (k,) of k outcomes follow `probabilities` (k,): χ², rare outcomes pooled to `least` expected ones.

    The probabilities must sum to one: an outcome that was left out would otherwise go unseen.
    """
    counts, probabilities = np.asarray(counts, np.float64), np.asarray(probabilities, np.float64)
    if abs(probabilities.sum() - 1) > 1e-6:
        raise AssertionError(f"the probabilities sum to {probabilities.sum()}, not 1")
    if np.any(counts[probabilities == 0] > 0):
        raise Disagreement("an outcome of probability 0 occurred")
    observed, expected = _pooled(counts, counts.sum() * probabilities, least)
    _reject_below(stats.chisquare(observed, expected, sum_check=False), 1, "the counts contradict the probabilities")


def assert_fraction(successes: int, trials: int, probability: float) -> None:
    """`successes` of `trials` have the given probability (exact binomial test)."""
    test = stats.binomtest(int(successes), int(trials), float(probability))
    _reject_below(test, 1, f"{successes} of {trials} contradict the probability {probability}")


def assert_at_most(successes: int, trials: int, probability: float) -> None:
    """`successes` of `trials` have the given probability or a smaller one (exact binomial test)."""
    test = stats.binomtest(int(successes), int(trials), float(probability), alternative="greater")
    _reject_below(test, 1, f"{successes} of {trials}, where at most {probability:g} of them may be")


def assert_estimate(measured: float, stderr: float, expected: float, z: float = Z) -> None:
    """A number with this standard error is within z of them of `expected`; the error must be finite, and 0 asks for equality."""
    if not np.isfinite(stderr):
        raise Disagreement(f"the standard error of {measured:.8g} is {stderr}")
    _assert_near("estimate", *(np.asarray(value, np.float64) for value in (measured, expected, stderr)), z, 0.0)


@contextmanager
def assert_fails(mutant: str = "the mutant") -> Iterator[None]:
    """The statistical check inside must reject: it is given a formula that is wrong on purpose.

    Only `Disagreement` counts: a wrong shape or a crash does not show that the check can tell right from wrong.
    """
    try:
        yield
    except Disagreement:
        return
    raise AssertionError(f"{mutant} passed: this check cannot see that error with so few samples")


def _assert_near(what, measured, expected, error, z, rounding):
    if measured.shape != expected.shape:
        raise AssertionError(f"the {what} has the shape {measured.shape}, the expected one {expected.shape}")
    excess = np.abs(measured - expected) - rounding
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(excess <= 0, 0.0, excess / error)
    if not np.all(score <= z):
        worst = np.unravel_index(np.argmax(np.nan_to_num(score, nan=np.inf)), score.shape)
        raise Disagreement(
            f"{what} at {tuple(map(int, worst))}: {measured[worst]:.8g} ± {error[worst]:.2g}, "
            f"expected {expected[worst]:.8g}: {score[worst]:.1f} standard errors, allowed {z:.1f}"
        )


def _rounding(samples: np.ndarray) -> float:
    return (64 + len(samples)) * float(np.finfo(np.float64).eps) * float(np.abs(samples).max())


def _float64(samples: ArrayLike) -> np.ndarray:
    samples = np.asarray(samples, np.float64)
    if len(samples) < 100:
        raise AssertionError(f"{len(samples)} samples are too few for a statistical check: take 100 or more")
    return samples


def _columns(samples: ArrayLike) -> np.ndarray:
    samples = _float64(samples)
    return samples.reshape(len(samples), -1)


def _pooled(observed: np.ndarray, expected: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(expected)
    rare = np.cumsum(expected[order])
    pool = min(int(np.searchsorted(rare, least)) + 1, len(expected))
    observed, expected = observed[order], expected[order]
    return (np.append(observed[:pool].sum(), observed[pool:]), np.append(expected[:pool].sum(), expected[pool:]))


def _reject_below(test, comparisons: int, message: str) -> None:
    if not test.pvalue >= ALARM / comparisons:
        raise Disagreement(f"{message}: p = {test.pvalue:.2g}, allowed {ALARM / comparisons:.2g}")
