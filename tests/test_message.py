"""The law of the mean message: exact laws against agent-by-agent sampling, closed forms against both, pair by pair."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from stablestep.compressor import (
    QSGD,
    Identity,
    RandK,
    RandomSparsification,
    Sign,
)
from stablestep.errors import InvalidInput
from stablestep.message import law
from stablestep.noise import Gaussian, Minibatch, StudentT
from stablestep.problem import Logistic, Problem, Quadratic, Quartic
from stablestep.setup import Agents, Setup
from stablestep.stream import Family, Stream
from tests.instances import MEMORYLESS as COMPRESSORS
from tests.instances import NOISES, PLAIN, SCALES, SUM
from tests.statistics import (
    assert_covariance,
    assert_equal_means,
    assert_fails,
    assert_mean,
    assert_same_distribution,
)

DRAWS = 40_000
X = jnp.array([1.0, -0.5, 2.0])
G = np.array([1.0, -0.5, 2.0])
BERNOULLI = ("bernoulli", "bernoulli-unscaled")
LINEAR = tuple(name for name, one in COMPRESSORS.items() if one.linear)
SIGNS = tuple(name for name, one in COMPRESSORS.items() if one.is_sign)
# Their moments are known without noise only.
FORMLESS = tuple(name for name, one in COMPRESSORS.items() if not (one.unbiased or name in LINEAR or name in SIGNS))
ROWS = [
    *itertools.product([noise for noise in NOISES if noise != "t-inf"], COMPRESSORS, ["own"], [5]),
    *itertools.product(["t-inf"], ["identity", "sign"], ["own"], [5]),
    *itertools.product(["zero"], ["bernoulli", "rand-2", "qsgd"], ["shared"], [5]),
    *itertools.product(["gaussian"], ["bernoulli", "bernoulli-unscaled", "rand-block", "terngrad"], ["shared"], [5]),
    *itertools.product(["minibatch", "t1.5", "t12-multivariate"], ["bernoulli", "qsgd"], ["shared"], [5]),
    *itertools.product(["gaussian", "t1.5"], ["bernoulli", "rand-2", "sign"], ["own"], [1]),
    ("t1.5", "sign", "own", 60),
    ("gaussian", "bernoulli", "own", 60),
    ("gaussian", "bernoulli", "shared", 1),
]


def setup_of(noise, compressor, mask, count):
    problem = SUM if noise == "minibatch" else PLAIN
    return Setup(problem, Agents(count, NOISES[noise], COMPRESSORS[compressor], mask=mask))


def draws(messages, seed, count=DRAWS):
    # Without XLA's optimizations: there are many laws to compile, each for one short call.
    options = {"xla_backend_optimization_level": 0}

    def run(stream, indices):
        return jax.vmap(lambda i: messages.draw(stream.child(i, Family.RUN), X)[1])(indices)

    return np.asarray(jax.jit(run, compiler_options=options)(Stream.seed(seed), jnp.arange(count, dtype=jnp.uint32)))


def views(samples):
    """The coordinates and two combinations that see their dependence; rounded, so that equal atoms are equal numbers."""
    return np.round(np.column_stack([samples, samples @ [1, 1, 1], samples @ [1, -1, 0.5]]), 9)


def has_law(noise, compressor, mask, count):
    """The pairs whose cost does not depend on the number of agents."""
    gaussian = noise in ("zero", "gaussian")
    if noise == "zero" and COMPRESSORS[compressor].deterministic:
        return True
    if compressor == "sign":
        return NOISES[noise].independent
    one_mask = mask == "shared" or compressor == "identity" or count == 1
    return gaussian and (compressor in BERNOULLI or (compressor in LINEAR and one_mask))


def has_mean(noise, compressor):
    if compressor in FORMLESS:
        return noise == "zero"
    if compressor in SIGNS:
        return noise != "minibatch"
    return NOISES[noise].has_mean


def has_covariance(noise, compressor):
    if compressor in (*SIGNS, *FORMLESS):
        return has_mean(noise, compressor)
    return NOISES[noise].has_variance and (compressor in LINEAR or noise == "zero")


def bounded(noise, compressor):
    """Whether a sample mean has a standard error."""
    return compressor in (*SIGNS, "clip") or NOISES[noise].has_variance


def assert_closed_mean(row, messages, samples):
    if not has_mean(*row[:2]):
        with pytest.raises(InvalidInput, match=r"samples=|has no mean; use df > 1"):
            messages.mean(X)
        return
    mean = np.asarray(messages.mean(X))
    if bounded(*row[:2]):
        assert_mean(samples, mean)
        if np.any(samples != samples[0]):
            with assert_fails("a mean 1.3 times too large"):
                assert_mean(samples, 1.3 * mean)
    else:
        np.testing.assert_allclose(mean, COMPRESSORS[row[1]].gain(3) * G)


def assert_closed_covariance(row, messages, samples):
    if not has_covariance(*row[:2]):
        with pytest.raises(InvalidInput, match=r"samples=|has no finite variance; use df > 2"):
            messages.covariance(X)
        return
    covariance = np.asarray(messages.covariance(X).as_matrix())
    if not np.any(covariance):
        assert np.all(samples == samples[0])
        return
    assert_covariance(samples, covariance)
    with assert_fails("a covariance 1.2 times too large"):
        assert_covariance(samples, 1.2 * covariance)
    if row[3] > 1:
        with assert_fails("1/n → 1"):
            assert_covariance(samples, row[3] * covariance)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(map(str, row)))
def test_law_agents_and_closed_forms_agree(row, seed):
    setup = setup_of(*row)
    by_agents = law(setup, "agents")
    assert by_agents.methods == ("agents",)
    # Where no moment can be compared and no law exists, only the refusals remain to be tested.
    sampled = has_law(*row) or (bounded(*row[:2]) and has_mean(*row[:2]))
    samples = draws(by_agents, seed) if sampled else None
    assert_closed_mean(row, by_agents, samples)
    assert_closed_covariance(row, by_agents, samples)
    if not has_law(*row):
        assert law(setup).methods == ("agents",)
        with pytest.raises(InvalidInput, match="have no known law; use sampling='agents' or 'auto'"):
            law(setup, "law")
        return
    exact = law(setup, "law")
    assert exact.methods == law(setup).methods and set(exact.methods) <= {"law", "native"}
    found = draws(exact, seed + 1)
    assert_same_distribution(views(found), views(samples))
    if bounded(*row[:2]):
        assert_equal_means(found, samples)
        assert_closed_covariance(row, exact, found)


def sparse_mutants(seed, count=5, omega=4.0):
    """Plausible errors in the law of sparse Gaussian messages, drawn with NumPy."""
    generator = np.random.default_rng(seed)
    kept = generator.binomial(count, 1 / (1 + omega), size=(DRAWS, 3))
    deviation = np.sqrt(SCALES**2 + 0.04 * np.sum(G**2))
    normal, weight = generator.normal(size=(DRAWS, 3)), (1 + omega) / count
    return {
        "right": weight * (kept * G + deviation * np.sqrt(kept) * normal),
        "K g only": weight * kept * G,
        "noise that does not average": weight * kept * (G + deviation * normal),
        "noise apart from the mask": weight * kept * G + deviation * normal / np.sqrt(count),
        "1/n → 1": count * weight * (kept * G + deviation * np.sqrt(kept) * normal),
        "one mask for all": (1 + omega)
        * (generator.random((DRAWS, 3)) < 1 / (1 + omega))
        * (G + deviation * normal / np.sqrt(count)),
    }


def test_mutants_of_the_sparse_law(seed):
    samples = draws(law(setup_of("gaussian", "bernoulli", "own", 5), "agents"), seed)
    right, *wrong = sparse_mutants(seed).items()
    assert_same_distribution(right[1], samples)
    for name, mutant in wrong:
        with assert_fails(name):
            assert_same_distribution(mutant, samples)


def test_mutants_of_the_sign_law(seed):
    setup = setup_of("t1.5", "sign", "own", 5)
    samples = draws(law(setup, "law"), seed)
    wrong = np.asarray(NOISES["t1.5"].flip_probability(X))
    for name, probability in {
        "1.5 flips": 1.5 * wrong,
        "no noise": 0 * wrong,
        "flip and stay exchanged": 1 - wrong,
    }.items():
        mutant = np.sign(G) * (1 - 2 / 5 * np.random.default_rng(seed).binomial(5, probability, size=(DRAWS, 3)))
        with assert_fails(name):
            assert_same_distribution(np.round(mutant, 9), np.round(samples, 9))


@pytest.mark.parametrize(("df", "expected"), [(1.0, 0.031743), (2.0, 0.019591), (5.0, 0.008806), (30.0, 0.001546)])
def test_signs_of_multivariate_t_are_dependent(df, expected):
    noise = StudentT(df, [1.0, 2.0], "multivariate")
    setup = Setup(Quadratic(np.ones(2)), Agents(1, noise, Sign()))
    matrix = np.asarray(law(setup).covariance(jnp.array([1.0, 0.5])).as_matrix())
    assert matrix[0, 1] == matrix[1, 0] == pytest.approx(expected, abs=6e-7)
    independent = Setup(Quadratic(np.ones(2)), Agents(1, StudentT(df, [1.0, 2.0]), Sign()))
    np.testing.assert_allclose(np.diag(matrix), np.diag(law(independent).covariance(jnp.array([1.0, 0.5])).as_matrix()))


def test_signs_of_multivariate_cauchy_by_sampling(seed):
    setup = Setup(PLAIN, Agents(2, StudentT(1.0, SCALES, "multivariate"), Sign()))
    samples, covariance = draws(law(setup), seed, 4 * DRAWS), np.asarray(law(setup).covariance(X).as_matrix())
    assert_covariance(samples, covariance)
    with assert_fails("independent coordinates"):
        assert_covariance(samples, np.diag(np.diag(covariance)))


@pytest.mark.parametrize("count", [1, 4, 100])
def test_a_shared_mask_is_not_averaged(count):
    def diagonal(mask, noise=None):
        setup = Setup(PLAIN, Agents(count, noise, RandomSparsification(4.0), mask=mask))
        return np.diag(law(setup).covariance(X).as_matrix())

    np.testing.assert_allclose(diagonal("shared"), 4 * G**2)
    np.testing.assert_allclose(diagonal("own"), 4 * G**2 / count)
    np.testing.assert_allclose(diagonal("shared", Gaussian(SCALES)), 4 * G**2 + 5 * SCALES**2 / count)
    np.testing.assert_allclose(diagonal("own", Gaussian(SCALES)), (4 * G**2 + 5 * SCALES**2) / count)


@pytest.mark.parametrize("compressor", ["qsgd", "terngrad", "natural"])
def test_agents_without_noise_that_share_randomness_send_one_message(compressor):
    one = law(setup_of("zero", compressor, "own", 1)).covariance(X).as_matrix()
    np.testing.assert_allclose(law(setup_of("zero", compressor, "shared", 5)).covariance(X).as_matrix(), one)


def groups(*parts, problem=PLAIN):
    return law(Setup(problem, *parts))


A, B = (4, Gaussian(0.5, 0.1), RandomSparsification(3.0)), (2, StudentT(2.5, 2.0), Sign())
C = (3, Gaussian(SCALES), RandK(2))
PAIRS = {
    "rand-all is the identity": (groups(Agents(3, A[1], RandK(3))), groups(Agents(3, A[1]))),
    "omega 0 is the identity": (groups(Agents(3, A[1], RandomSparsification(0.0))), groups(Agents(3, A[1]))),
    "one agent shares its mask": (groups(Agents(1, *C[1:], mask="shared")), groups(Agents(1, *C[1:]))),
    "normal noise": (
        groups(Agents(3, StudentT(np.inf, SCALES), RandK(2))),
        groups(Agents(3, Gaussian(SCALES), RandK(2))),
    ),
    "permuted groups": (groups(Agents(*A), Agents(*B), Agents(*C)), groups(Agents(*C), Agents(*A), Agents(*B))),
    "split groups": (groups(Agents(*A), Agents(*B)), groups(Agents(1, *A[1:]), Agents(*B), Agents(3, *A[1:]))),
    "split signs": (groups(Agents(5, *B[1:])), groups(Agents(2, *B[1:]), Agents(3, *B[1:]))),
    "own equal problem": (groups(Agents(*A), Agents(*C)), groups(Agents(*A, problem=PLAIN), Agents(*C))),
}


@pytest.mark.parametrize("name", PAIRS)
def test_descriptions_of_the_same_agents(name, seed):
    first, second = PAIRS[name]
    np.testing.assert_allclose(first.mean(X), second.mean(X), rtol=1e-12)
    np.testing.assert_allclose(
        first.covariance(X).as_matrix(), second.covariance(X).as_matrix(), rtol=1e-12, atol=1e-14
    )
    a, b = draws(first, seed), draws(second, seed + 1)
    assert_same_distribution(views(a), views(b))
    assert_covariance(a, np.asarray(second.covariance(X).as_matrix()))


def test_no_noise_and_no_compression_is_the_gradient(seed):
    for sampling in ("law", "agents"):
        messages = law(Setup(Quartic(3), Agents(3), Agents(2)), sampling)
        np.testing.assert_allclose(draws(messages, seed, 10), np.tile(np.asarray(X) ** 3, (10, 1)), rtol=1e-14)
    assert not np.any(messages.covariance(X).as_matrix())


def test_splitting_a_group_with_a_shared_mask_gives_two_masks():
    one, own = groups(Agents(6, None, RandK(1), mask="shared")), groups(Agents(1, None, RandK(1)))
    two = groups(Agents(2, None, RandK(1), mask="shared"), Agents(4, None, RandK(1), mask="shared"))
    single = np.asarray(own.covariance(X).as_matrix())
    np.testing.assert_allclose(one.covariance(X).as_matrix(), single, atol=1e-12)
    np.testing.assert_allclose(two.covariance(X).as_matrix(), single * (1 / 9 + 4 / 9), atol=1e-12)


HETEROGENEOUS = [Quadratic([1.0, 2.0, 3.0]), Quartic(3), Logistic(SUM.data, [0, 1, 0, 1, 1])]


@pytest.mark.parametrize("sampling", ["auto", "agents"])
def test_groups_with_data_of_their_own(sampling, seed):
    noises, compressors = (
        [Gaussian(0.3, 0.1), Gaussian(0.1), Minibatch(3)],
        [RandomSparsification(2.0), Identity(), RandK(2)],
    )
    setup = Setup(
        None,
        *[
            Agents(count, noise, compressor, problem=problem)
            for count, noise, compressor, problem in zip((3, 2, 1), noises, compressors, HETEROGENEOUS, strict=True)
        ],
    )
    messages = law(setup, sampling)
    gradients = [np.asarray(problem.gradient(X)) for problem in HETEROGENEOUS]
    mixed = (3 * gradients[0] + 2 * gradients[1] + gradients[2]) / 6
    np.testing.assert_allclose(setup.problem.gradient(X), mixed, rtol=1e-12)
    np.testing.assert_allclose(messages.mean(X), mixed, rtol=1e-12)
    samples = draws(messages, seed)
    assert_mean(samples, mixed)
    covariance = np.asarray(messages.covariance(X).as_matrix())
    assert_covariance(samples, covariance)
    with assert_fails("noise that grows with the mixture's gradient"):
        assert_covariance(samples, 1.1 * covariance)
    # By hand: the noise of each group grows with its own gradient.
    variance = 0.09 + 0.01 * np.sum(gradients[0] ** 2)
    first = np.diag(3 * variance + 2 * gradients[0] ** 2) * 3 / 36
    terms = np.asarray(HETEROGENEOUS[2].term_gradients(X))
    noise = np.cov(terms, rowvar=False, bias=True) / 3
    second = noise + np.outer(gradients[2], gradients[2])
    last = (noise + 0.25 * (3 * np.diag(np.diag(second)) - second)) / 36
    np.testing.assert_allclose(covariance, first + 2 * 0.01 * np.eye(3) / 36 + last, atol=1e-12)


def test_signs_of_different_landscapes_have_their_own_sides(seed):
    setup = Setup(
        None, Agents(1, None, Sign(), Quadratic([1.0, 1.0, 1.0])), Agents(3, None, Sign(), Quadratic([-1.0, 1.0, 0.0]))
    )
    expected = [(1 - 3) / 4, -1.0, 0.25]
    np.testing.assert_allclose(law(setup).mean(X), expected)
    for sampling in ("law", "agents"):
        np.testing.assert_allclose(draws(law(setup, sampling), seed, 3), [expected] * 3)


@pytest.mark.parametrize("noise", [None, Gaussian(SCALES * [0, 1, 1]), StudentT(2.5, SCALES * [0, 1, 1])])
@pytest.mark.parametrize("sampling", ["law", "agents"])
def test_a_zero_gradient_without_noise_has_the_sign_zero(noise, sampling, seed):
    messages = law(Setup(Quadratic([0.0, 1.0, 1.0]), Agents(3, noise, Sign())), sampling)
    assert not np.any(draws(messages, seed, 200)[:, 0])
    assert float(messages.mean(X)[0]) == 0 and float(messages.covariance(X).as_matrix()[0, 0]) == 0


WITHOUT_FORM = [
    ("minibatch", "sign", "own", 5),
    ("gaussian", "top-1", "own", 5),
    ("gaussian", "terngrad", "shared", 5),
]


@pytest.mark.parametrize("row", WITHOUT_FORM, ids=str)
def test_moments_by_sampling(row, key):
    messages = law(setup_of(*row))
    mean, covariance = messages.mean(X, samples=1000, key=key), messages.covariance(X, samples=1000, key=key)
    with pytest.raises(InvalidInput, match="samples="):
        messages.covariance(X)
    again = np.asarray(jax.jit(jax.vmap(lambda k: messages.sample(k, X)))(jax.random.split(key, 1000)))
    np.testing.assert_allclose(mean, again.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(covariance.as_matrix(), np.cov(again, rowvar=False), rtol=1e-10)


def test_sampled_moments_agree_with_the_closed_forms(key):
    messages = law(setup_of("gaussian", "bernoulli", "own", 5))
    sampled = np.asarray(messages.covariance(X, samples=50_000, key=key).as_matrix())
    np.testing.assert_allclose(sampled, messages.covariance(X).as_matrix(), atol=0.2)
    np.testing.assert_allclose(messages.mean(X, samples=50_000, key=key), messages.mean(X), atol=0.1)


def test_sample_depends_on_the_key_only(key):
    messages = law(setup_of("t1.5", "sign", "own", 5))
    first, second = jax.random.split(key)
    sample = jax.jit(lambda k: messages.sample(k, X))
    assert np.array_equal(sample(first), sample(first))
    assert len({tuple(np.asarray(sample(k))) for k in jax.random.split(second, 20)}) > 1


BAD = [
    (lambda: law(setup_of("zero", "sign", "own", 1), "exact"), 'sampling is "exact".*"auto", "law" or "agents"'),
    (lambda: law(setup_of("gaussian", "qsgd", "own", 1), "law"), "QSGD messages under Gaussian noise"),
    (lambda: law(setup_of("zero", "sign", "own", 1)).mean(X, samples=1, key=jax.random.key(0)), "samples is 1"),
    (lambda: law(setup_of("zero", "sign", "own", 1)).mean(X, samples=10), r"pass key=jax\.random\.key"),
    (lambda: law(setup_of("t1", "identity", "own", 1)).mean(X), "no mean; use df > 1"),
    (lambda: law(Setup(PLAIN, Agents(1, StudentT(2.0)))).covariance(X), "df = 2.0"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_input(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        wrong()


def common(compressor, noises, sampling="auto"):
    """Two unlike groups under one mask."""
    groups = [
        Agents(count, noise, compressor, problem=problem, mask="common")
        for count, noise, problem in zip(
            (1, 3), noises, (Quadratic([1.0, 2.0, 3.0]), Quadratic([2.0, 0.5, 1.0])), strict=True
        )
    ]
    return law(Setup(None, *groups), sampling)


class Centred(Problem):
    """(x − c)²/2."""

    centre: float
    dim: int = 1

    def value(self, x):
        return jnp.sum((x - self.centre) ** 2) / 2


@pytest.mark.parametrize(
    ("noise", "root"), [(Gaussian(1.0), 0.6594187961), (StudentT(1.0), 0.6601231134)], ids=["Gaussian", "Cauchy"]
)
def test_where_signs_of_unlike_clients_rest(noise, root):
    """theory2 8.13: σ = 1, clients about 0, 0 and 3, whose mean is at 1."""
    votes = law(Setup(None, *(Agents(1, noise, Sign(), Centred(c)) for c in (0.0, 0.0, 3.0))))
    found = brentq(lambda x: float(votes.mean(jnp.array([x]))[0]), 0.0, 3.0, xtol=1e-14)
    assert found == pytest.approx(root, abs=5.1e-11)


@pytest.mark.parametrize("compressor", [RandomSparsification(4.0), RandK(1)], ids=["bernoulli", "rand-1"])
@pytest.mark.parametrize("noises", [(None, None), (Gaussian(0.5), Gaussian(SCALES, 0.2))], ids=["silent", "gaussian"])
def test_a_common_mask_is_one_map_of_the_mean_gradient(compressor, noises, seed):
    messages = common(compressor, noises)
    found, by_agents = draws(messages, seed), draws(common(compressor, noises, "agents"), seed + 1)
    assert_mean(found, np.asarray(messages.mean(X)))
    covariance = np.asarray(jax.vmap(messages.covariance(X).mv)(jnp.eye(3)))
    assert_covariance(found, covariance)
    assert_same_distribution(views(found), views(by_agents))
    own = Setup(None, *(Agents(g.count, g.noise, compressor, problem=g.problem) for g in messages.groups))
    with assert_fails("own masks"):
        assert_covariance(found, np.asarray(jax.vmap(law(own).covariance(X).mv)(jnp.eye(3))))


def test_a_common_mask_needs_the_same_compressor_everywhere():
    with pytest.raises(InvalidInput, match='give every group mask="common"'):
        Setup(Quartic(3), Agents(1, mask="common"), Agents(1))
    with pytest.raises(InvalidInput, match="the same compressor"):
        Setup(Quartic(3), Agents(1, None, RandK(1), mask="common"), Agents(1, None, RandK(2), mask="common"))
    with pytest.raises(InvalidInput, match="with common randomness"):
        common(QSGD(2), (None, None)).covariance(X)
