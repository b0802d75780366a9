"""The laws in C++ against agents one by one and against XLA; and what is said where they cannot run.

Most of these need the package, which `make native` builds.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from stablestep import native
from stablestep.compressor import RandomSparsification, Sign
from stablestep.errors import InvalidInput
from stablestep.message import law
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Function, Quadratic, Quartic
from stablestep.record import cast, chunks, engine
from stablestep.schedule import Constant
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from stablestep.stream import Family, Stream
from tests.statistics import (
    assert_counts,
    assert_covariance,
    assert_distribution,
    assert_equal_means,
    assert_fails,
    assert_fraction,
    assert_mean,
    assert_same_distribution,
    assert_variance,
)

needed = pytest.mark.skipif(find_spec("stablestep_native") is None, reason="stablestep-native is not installed")
ROWS = 20_000
X = np.array([0.9, -0.4, 1.3, 0.0, 0.7], np.float32)
COUNT = 5


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    """Nothing is remembered of what an earlier test has found."""
    monkeypatch.delenv(native.VARIABLE, raising=False)
    for found in (native._loaded, native._installed, native._warn):
        found.cache_clear()
    yield
    for found in (native._loaded, native._installed, native._warn):
        found.cache_clear()


@pytest.fixture
def switch(monkeypatch):
    return lambda setting: monkeypatch.setenv(native.VARIABLE, setting)


def keys(seed, rows=ROWS):
    return Stream.seed(seed).children(np.arange(rows, dtype=np.uint32), Family.RUN)


def draws(messages, seed, x=X, rows=ROWS):
    messages = cast(messages, jnp.float32)
    draw = jax.jit(jax.vmap(lambda stream: messages.draw(stream, jnp.asarray(x))[1]))
    return np.asarray(draw(keys(seed, rows)), np.float64)


def views(samples):
    """The coordinates and combinations that see their dependence; rounded, so that equal atoms are equal numbers."""
    return np.round(np.column_stack([samples, samples.sum(axis=1), samples @ [1, -1, 0.5, 2, -0.3]]), 4)


SPARSE = [(count, omega) for count in (1, 2, 16, 256) for omega in (0.0, 3.0, 40.0)]
GAUSSIAN = Gaussian(sigma0=0.3, sigma1=0.2)


def sparse(count, omega, noise=GAUSSIAN):
    return Setup(Quartic(COUNT), Agents(count, noise, RandomSparsification(omega)))


def signs(count, noise=None):
    return Setup(Quartic(COUNT), Agents(count, noise or StudentT(2.5, 0.8), Sign()))


SETUPS = {f"sparse-{n}-{omega:g}": sparse(n, omega) for n, omega in SPARSE}
SETUPS |= {f"signs-{n}": signs(n) for n in (2, 3, 16, 64, 65, 300)}
SETUPS |= {
    "signs-gaussian": signs(7, GAUSSIAN),
    "unscaled": Setup(Quartic(COUNT), Agents(1, GAUSSIAN, RandomSparsification(3.0, scaled=False))),
}
WRONG = {
    "sparse-1-3": sparse(1, 2.6),
    "sparse-16-3": sparse(16, 2.0),
    "sparse-256-0": sparse(226, 0.0),
    "signs-16": signs(12),
    "signs-2": signs(2, StudentT(2.5, 0.7)),
}


@needed
@pytest.mark.parametrize("name", SETUPS)
def test_the_law_is_that_of_the_agents(name, seed, switch):
    fast, slow = law(SETUPS[name]), law(SETUPS[name], "agents")
    assert fast.methods == ("native",)
    found, by_agents = draws(fast, seed), draws(slow, seed + 1, rows=4000)
    assert_same_distribution(views(found), views(by_agents))
    assert_equal_means(found, by_agents)
    assert_mean(found, np.asarray(fast.mean(jnp.asarray(X, jnp.float64))))
    covariance = np.asarray(jax.vmap(fast.covariance(jnp.asarray(X, jnp.float64)).mv)(jnp.eye(COUNT)))
    assert_covariance(found, covariance)
    switch("0")
    other = law(SETUPS[name])
    assert other.methods == ("law",)
    assert_same_distribution(views(found), views(draws(other, seed + 2)))


@needed
@pytest.mark.parametrize("name", WRONG)
def test_a_law_that_is_another_is_seen(name, seed):
    found, wrong = draws(law(WRONG[name]), seed), draws(law(SETUPS[name], "agents"), seed + 1)
    with assert_fails("another law"):
        assert_same_distribution(views(found), views(wrong))
        assert_covariance(found, np.cov(wrong, rowvar=False))


@needed
@pytest.mark.parametrize("omega", [0.5, 8.0, 1000.0])
def test_masks_and_noise_of_long_vectors(omega, seed):
    """Among a million coordinates of one row: how many are kept, and what is added to them."""
    dim = 1_000_000
    made = native.sparse(native.build(), jnp.ones(dim, jnp.float32), keys_of_one(seed), 0.5, omega, 1.0)
    message = np.asarray(made, np.float64)
    kept = message != 0
    assert_fraction(int(kept.sum()), dim, 1 / (1 + omega))
    with assert_fails("a probability 1.3 times too large"):
        assert_fraction(int(kept.sum()), dim, 1.3 / (1 + omega))
    noise = (message[kept] - 1) / 0.5
    assert_distribution(noise, stats.norm.cdf)
    assert_variance(noise, 1.0)
    assert_mean(noise**4, 3.0)
    together = np.mean(kept[1:] & kept[:-1])
    assert_fraction(round(together * (dim - 1)), dim - 1, 1 / (1 + omega) ** 2)


def keys_of_one(seed):
    return Stream.seed(seed).child(0, Family.RUN).keys


@needed
def test_normals(seed):
    samples = np.asarray(native.normal(native.build(), keys_of_one(seed), 400_001, 5), np.float64)
    assert_distribution(samples, stats.norm.cdf)
    assert_variance(samples, 1.0)
    assert_mean(samples**4, 3.0)
    with assert_fails("a scale 1.01 times too large"):
        assert_variance(samples, 1.01**2)
    others = np.asarray(native.normal(native.build(), keys_of_one(seed), 400_001, 7), np.float64)
    block = 400_000 // 512 * 512
    halves = samples[:block].reshape(-1, 2, 256)
    pairs = np.column_stack(
        [halves[:, 0].ravel(), halves[:, 1].ravel(), others[:block].reshape(-1, 2, 256)[:, 0].ravel()]
    )
    assert_covariance(pairs, np.eye(3))
    assert_covariance(pairs**2, 2 * np.eye(3))
    with assert_fails("one word for both"):
        assert_covariance(pairs[:, [0, 0]], np.eye(2))


@needed
@pytest.mark.parametrize("q", [0.0, 1e-3, 0.2, 0.5])
@pytest.mark.parametrize("agents", [2, 16, 64, 65, 200])
def test_numbers_of_flips(agents, q, seed):
    made = np.asarray(native.flips(native.build(), jnp.full(60_001, q, jnp.float32), keys_of_one(seed), agents))
    counts = np.bincount(made.astype(int), minlength=agents + 1)
    if q == 0:
        assert counts[0] == made.size
        return
    assert_counts(counts, stats.binom.pmf(np.arange(agents + 1), agents, q))
    if q > 0.1:
        with assert_fails("a probability 1.1 times too large"):
            assert_counts(counts, stats.binom.pmf(np.arange(agents + 1), agents, 1.1 * q))


@needed
def test_what_is_no_number_stays_none():
    q = jnp.array([0.5, jnp.nan, 0.0], jnp.float32)
    found = np.asarray(native.flips(native.build(), q, keys_of_one(0), 9))
    assert np.isnan(found).tolist() == [False, True, False]
    still = Setup(Quadratic([1.0, 1.0]), Agents(5, StudentT(2.0, [0.0, 1.0]), Sign()))
    assert law(still).methods == ("native",)
    assert np.all(draws(law(still), 1, np.zeros(2, np.float32), 50)[:, 0] == 0)
    gone = draws(law(sparse(1, 3.0)), 1, np.full(COUNT, np.inf, np.float32), 50)
    assert not np.any(np.isfinite(gone[gone != 0]))


@needed
@pytest.mark.parametrize("kind", ["v3", "portable"])
def test_the_builds_agree(kind, seed, switch):
    """The same words in each, so that they differ by rounding only, and hardly ever in whether a coordinate is kept."""
    best = native.build()
    switch(kind)
    try:
        other = native.build()
    except InvalidInput:
        pytest.skip(f"this machine has no build {kind}")
    where = keys_of_one(seed)
    gradient = jnp.linspace(-1, 1, 5000, dtype=jnp.float32)
    table = jnp.asarray(law(sparse(16, 3.0)).groups[0].kept.entries[0])
    for call in (
        lambda build: native.normal(build, where, 5000, 3),
        lambda build: native.sparse(build, gradient, where, 0.3, 8.0, 9.0),
        lambda build: native.many(build, gradient, where, 0.3, 0.1, table, 0),
        lambda build: native.flips(build, jnp.abs(gradient) / 2, where, 20),
    ):
        first, second = np.asarray(call(best)), np.asarray(call(other))
        assert np.mean(~np.isclose(first, second, rtol=1e-3, atol=1e-4)) < 1e-3


@needed
@pytest.mark.parametrize("dim", [1, 2, 15, 16, 17, 511, 512, 513, 1000, 1025])
def test_vectors_of_every_length(dim, seed):
    """Rows do not see each other, nor what lies beyond their ends."""
    gradient = jnp.ones((3, dim), jnp.float32)
    streams = keys(seed, 3)

    def each(stream, g):
        build, chance = native.build(), jnp.full(dim, 0.3, jnp.float32)
        table = jnp.asarray(law(sparse(16, 3.0)).groups[0].kept.entries[0])
        return (
            native.normal(build, stream.keys, dim, 3),
            native.sparse(build, g, stream.keys, 0.3, 1.0, 2.0),
            native.many(build, g, stream.keys, 0.3, 0.1, table, 0),
            native.flips(build, chance, stream.keys, 20),
        )

    together = jax.jit(jax.vmap(each))(streams, gradient)
    for row in range(3):
        alone = jax.jit(each)(jax.tree.map(lambda leaf, row=row: leaf[row], streams), gradient[row])
        for all_rows, one in zip(together, alone, strict=True):
            assert one.shape == (dim,) and np.all(np.isfinite(one))
            np.testing.assert_array_equal(all_rows[row], one)


GROUPS = {
    "sparse": (Agents(1, GAUSSIAN, RandomSparsification(3.0)), Agents(9, GAUSSIAN, RandomSparsification(3.0))),
    "signs": (Agents(9, StudentT(2.5), Sign()),),
}


@needed
@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_a_simulation_does_not_depend_on_chunks_or_threads(groups, monkeypatch):
    def run():
        setup = Setup(Quartic(40), *groups)
        return simulate(setup, schedule=Constant(0.02), x0=0.6, steps=7, runs=23, final=True).final_state.values

    reference = run()
    for size, cores in ((40, 1), (200, 2), (40 * 23, 3)):
        monkeypatch.setattr(chunks, "CHUNK", size)
        monkeypatch.setattr(chunks, "cores", lambda cores=cores: cores)
        np.testing.assert_array_equal(run(), reference)


@needed
def test_a_grid_compiles_once():
    engine._kernel.cache_clear()
    setup = Setup(Quartic(40), Agents(1, GAUSSIAN, RandomSparsification(3.0)))
    common = dict(schedule=Constant(0.02), x0=0.6, steps=3, runs=4)
    found = simulate(setup, **common, grid={"omega": [1.0, 2.0, 5.0], "sigma1": [0.1, 0.2], "eta": [0.01, 0.02]})
    assert found.attrs["sampling"] == "native"
    assert [len(one.kernels) for one in kernels()] == [1]


def kernels():
    """The functions that the engine has compiled."""
    import gc

    return [
        one
        for one in gc.get_objects()
        if isinstance(one, engine.compiled) and one.function.__name__ == "chunk" and one.kernels
    ]


@needed
def test_the_users_own_function(seed):
    setup = Setup(Function(lambda x: jnp.sum(x**4) / 4, COUNT), Agents(1, GAUSSIAN, RandomSparsification(3.0)))
    np.testing.assert_allclose(draws(law(setup), seed, rows=20), draws(law(sparse(1, 3.0)), seed, rows=20), rtol=1e-5)


@needed
def test_what_stays_with_xla(seed):
    vector = Gaussian(sigma0=[0.1] * COUNT)
    assert law(sparse(1, 3.0, vector)).methods == law(sparse(4, 3.0, vector)).methods == ("law",)
    assert law(signs(1)).methods == law(signs(5000)).methods == ("law",)
    wide = jax.jit(lambda stream: cast(law(sparse(1, 3.0)), jnp.float64).draw(stream, jnp.asarray(X, jnp.float64))[1])(
        keys_of(seed)
    )
    assert wide.dtype == jnp.float64


def keys_of(seed):
    return Stream.seed(seed).child(0, Family.RUN)


def test_it_can_be_switched_off(switch):
    switch("0")
    assert native.build() is None
    assert law(sparse(1, 3.0)).methods == ("law",)


def test_its_absence_is_an_error_where_it_is_wanted(switch, monkeypatch):
    monkeypatch.setitem(sys.modules, "stablestep_native", None)
    switch("1")
    with pytest.raises(
        InvalidInput,
        match="STABLESTEP_NATIVE is 1, but stablestep-native is not installed; build it with `make native`",
    ):
        law(sparse(1, 3.0))


@pytest.fixture
def package(monkeypatch):
    """A package that is installed but says that it cannot run."""

    def load(kind):
        raise RuntimeError("stablestep-native was built for another jaxlib than 0.0.0")

    fake = ModuleType("stablestep_native")
    fake.load, fake.__spec__ = load, ModuleSpec("stablestep_native", None)
    monkeypatch.setitem(sys.modules, "stablestep_native", fake)


def test_a_package_that_cannot_run_is_one_warning(package):
    with pytest.warns(UserWarning, match="built for another jaxlib than 0.0.0: XLA does its work") as said:
        found = [law(sparse(count, 3.0)).methods for count in (1, 4)]
    assert found == [("law",), ("law",)]
    assert len(said) == 1


def test_a_package_that_cannot_run_is_an_error_where_it_is_wanted(package, switch):
    switch("1")
    with pytest.raises(InvalidInput, match="built for another jaxlib"):
        native.build()


@needed
def test_what_can_be_wrong_with_a_build(monkeypatch, tmp_path):
    import stablestep_native

    monkeypatch.setattr(stablestep_native, "_HERE", tmp_path)
    with pytest.raises(RuntimeError, match="no finished build"):
        stablestep_native.load()
    (tmp_path / "builds.json").write_text('{"interface": [0, 0], "kinds": ["portable"]}')
    with pytest.raises(RuntimeError, match="for another jaxlib"):
        stablestep_native.load()
    monkeypatch.setattr(stablestep_native, "interface", lambda: [0, 0])
    (tmp_path / "portable.so").write_bytes(b"no library")
    with pytest.raises(RuntimeError, match="is broken"):
        stablestep_native.load()


@needed
def test_an_old_processor_is_left_to_xla(monkeypatch):
    import stablestep_native

    monkeypatch.setattr(stablestep_native, "_features", lambda: {"sse2"})
    with pytest.raises(RuntimeError, match="has no AVX2"):
        stablestep_native.load()
    monkeypatch.setattr(stablestep_native, "_features", lambda: {"avx2", "fma", "bmi2", "f16c", "sse2"})
    assert stablestep_native._best(["portable", "v3", "v4"]) == "v3"
