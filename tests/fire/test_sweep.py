"""Sweeps that are killed: finished points are kept, the store is readable, and the next sweep ends as an undisturbed one."""

import json
import os
import signal

import psutil
import pytest
import xarray as xr

import stablestep as ss
from stablestep.sweep import NotFinished
from tests.fire.processes import assert_nothing_left, moments, of_session, started, until
from tests.fire.sweeping import GRID, SECONDS, swept
from tests.sweep.work import SETUP, slow

SWEEP = "tests.fire.sweeping"
CALL = {"function": slow, "setup": SETUP, "grid": GRID, "seconds": SECONDS}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return swept(tmp_path_factory.mktemp("undisturbed")).load()


def cells(store):
    """The finished points of a store, and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in store.glob("cells/*/[!.]*.nc")}


def assert_resumes(store, before, undisturbed):
    """Every point that was finished is as it was, and all of them are those of an undisturbed sweep."""
    found = swept(store)
    after = cells(store)
    assert {name: after[name] for name in before} == before, "no finished point was computed again"
    xr.testing.assert_identical(found.load(), undisturbed)
    assert not list(store.glob("cells/*/.*")), "no draft is left"


@pytest.mark.parametrize("kind", ["serial", "processes"])
def test_the_process_is_killed(kind, tmp_path, undisturbed, seed):
    """After some points, and after a random while more."""
    for wait, least in zip(moments(seed, 2, 0.0, 0.2), (1, 8)):
        with started("-m", SWEEP, tmp_path, kind) as process:
            until(
                lambda least=least: len(cells(tmp_path)) >= least or process.poll() is not None, "a point is finished"
            )
            with pytest.raises(Exception, match="timed out"):
                process.wait(wait)
            process.kill()
            process.wait()
            assert_nothing_left(process.pid)
        there = cells(tmp_path)
        assert least <= len(there) < 40
        loaded = ss.sweep.load(tmp_path)
        assert loaded.attrs["finished"] == int((~loaded.value.isnull()).sum()) == len(there)
    assert_resumes(tmp_path, cells(tmp_path), undisturbed)


def test_a_worker_is_killed(tmp_path, undisturbed):
    with ss.sweep.processes(2) as executor:
        victim = next(iter(executor._processes or {}))

        def kill(done):
            if done > 0.2 and psutil.pid_exists(victim):
                os.kill(victim, signal.SIGKILL)

        with pytest.raises(
            NotFinished, match=r"the executor lost its workers \(BrokenProcessPool\); [0-9]+ of 40 points are kept"
        ):
            ss.sweep(**CALL, store=tmp_path, executor=executor, progress=kill)
        with pytest.raises(NotFinished, match="lost its workers"):
            swept(tmp_path, executor)
    assert 8 <= len(cells(tmp_path)) < 40
    assert_resumes(tmp_path, cells(tmp_path), undisturbed)


def test_ctrl_c(tmp_path, undisturbed):
    """In Python it is the exception that it always is."""

    def interrupt(done):
        if done > 0.5:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        ss.sweep(**CALL, store=tmp_path, progress=interrupt)
    assert len(cells(tmp_path)) == 21
    assert_resumes(tmp_path, cells(tmp_path), undisturbed)


def test_two_sweeps_share_a_store(tmp_path, undisturbed):
    with started("-m", SWEEP, tmp_path, "serial") as one, started("-m", SWEEP, tmp_path, "serial") as other:
        said = [process.communicate(timeout=100) for process in (one, other)]
    assert [out for out, _ in said] == ["finished\n"] * 2, said
    assert_resumes(tmp_path, cells(tmp_path), undisturbed)


def test_a_clock_that_jumps(tmp_path, undisturbed, monkeypatch):
    """No name and no decision depends on the time: files of a far future and of long ago are as good as others."""
    half = {**GRID, "count": [1, 2]}
    ss.sweep(slow, SETUP, half, store=tmp_path, seconds=SECONDS)
    for number, path in enumerate(tmp_path.rglob("*.*")):
        os.utime(path, (0, 0) if number % 2 else (2**33, 2**33))
    for clock in ("time", "monotonic", "time_ns"):
        monkeypatch.setattr(f"time.{clock}", lambda: -1)
    assert ss.sweep(slow, SETUP, half, store=tmp_path, seconds=SECONDS).value.identical(
        undisturbed.value.isel(count=[0, 1])
    )


def test_the_scheduler_of_a_cluster_is_killed(tmp_path, undisturbed):
    pytest.importorskip("distributed")
    scheduler = (
        "-m",
        "distributed.cli.dask_scheduler",
        "--port",
        "0",
        "--no-dashboard",
        "--scheduler-file",
        tmp_path / "where",
    )
    store = tmp_path / "store"
    with started(*scheduler, cwd=tmp_path) as head:
        until((tmp_path / "where").exists, "the scheduler listens")
        worker = (
            "-m",
            "distributed.cli.dask_worker",
            "--scheduler-file",
            tmp_path / "where",
            "--no-dashboard",
            "--no-nanny",
            "--nthreads",
            "1",
        )
        with (
            started(*worker, cwd=tmp_path) as hand,
            started("-m", SWEEP, store, "dask", address(tmp_path / "where")) as process,
        ):
            until(lambda: len(cells(store)) >= 4 or process.poll() is not None, "some points are finished")
            head.kill()
            _, error = process.communicate(timeout=100)
            assert process.returncode == 1 and "NotFinished: the executor lost its workers" in error, error
            hand.kill()
    assert 4 <= len(cells(store)) < 40 and not of_session(process.pid)
    assert_resumes(store, cells(store), undisturbed)


def address(file):
    return json.loads(file.read_text())["address"]
