"""What every test and doctest shares: JAX's configuration, and random keys that one environment variable replaces."""

import os
import zlib

import jax
import pytest

import tests.shapes  # noqa: F401  what jaxtyping's hook names

os.environ.setdefault(
    "STABLESTEP_CACHE", "0"
)  # the command line would keep kernels in the home of whoever runs the tests
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")

SUITE_SEED = int(os.environ.get("STABLESTEP_TEST_SEED", "20260117"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed that differs between tests and is the same in every run, unless STABLESTEP_TEST_SEED says otherwise."""
    return zlib.crc32(f"{SUITE_SEED} {request.node.nodeid}".encode()) >> 1


@pytest.fixture
def key(seed: int) -> jax.Array:
    """A JAX key made of `seed`."""
    return jax.random.key(seed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    if report.failed and "seed" in getattr(item, "fixturenames", ()):
        seed = item.funcargs.get("seed")  # type: ignore[attr-defined]
        report.sections.append(("random seed", f"STABLESTEP_TEST_SEED={SUITE_SEED} gives this test the seed {seed}"))
    return report
