"""Sweeps on Dask: two workers that the test starts itself."""

import jax.numpy as jnp
import pytest
import xarray as xr
from typer.testing import CliRunner

import stablestep as ss
from stablestep import cli, problem
from stablestep.setup import Setup
from stablestep.sweep import NotFinished
from tests.sweep.work import SETUP, broken, numbers

SPEC = """
problem = { type = "Quadratic", matrix_or_eigenvalues = [1.0, 2.0] }
agents = [{ compressor = { type = "RandomSparsification", omega = 4.0 } }]
schedule = { type = "Constant", eta = 0.1 }
run = { x0 = 0.5, steps = 3 }
grid = { omega = [1.0, 2.0], count = [1, 2] }
"""

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client():
    quiet = {"distributed.comm.timeouts.connect": "10s", "distributed.worker.memory.terminate": False}
    import dask

    with (
        dask.config.set(quiet),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_the_same_as_here(client, tmp_path):
    grid = {"omega": [1.0, 3.0, 19.0], "count": [1, 4]}
    found = ss.sweep(numbers, SETUP, grid, store=tmp_path, executor=client.get_executor(pure=False))
    xr.testing.assert_identical(found.load(), ss.sweep(numbers, SETUP, grid, store=None).load())


def test_a_user_s_function_travels(client):
    setup = Setup(problem.Function(lambda x: jnp.sum(x**2) / 2, dim=2), *SETUP.groups)
    start = jnp.ones(2)
    found = ss.sweep(
        lambda setup: setup.problem.value(start), setup, {"count": [1, 2]}, store=None, executor=client.get_executor()
    )
    assert found.value.values.tolist() == [1.0, 1.0]


def test_a_failure_is_named(client):
    with pytest.raises(NotFinished, match=r"1 points failed, the first \(count = 4\) with ZeroDivisionError"):
        ss.sweep(broken, SETUP, {"count": [1, 4]}, store=None, executor=client.get_executor())


def test_the_command_on_a_cluster(client, tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC)
    words = ["sweep", tmp_path / "spec.toml", "--store", tmp_path / "store", "--of", "moments"]
    outcome = CliRunner().invoke(cli.app, [*map(str, words), "--scheduler", client.scheduler.address])
    assert outcome.exit_code == 0 and "4 points are in" in outcome.stdout, outcome.output
    assert ss.sweep.load(tmp_path / "store").loss.sizes == {"omega": 2, "count": 2, "time": 4}


def test_a_scheduler_that_is_not_there(tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC)
    words = ["sweep", tmp_path / "spec.toml", "--store", tmp_path / "store", "--of", "moments"]
    outcome = CliRunner().invoke(cli.app, [*map(str, words), "--scheduler", "tcp://127.0.0.1:9"])
    assert outcome.exit_code == 2 and len(outcome.stderr.splitlines()) == 1, outcome.output
    assert 'no Dask scheduler answers at "tcp://127.0.0.1:9"' in outcome.stderr
