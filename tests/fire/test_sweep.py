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
from tests.fire.sweeping import CELLS, GRID, SECONDS, swept
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


def test_one_store_outlives_five_kills(tmp_path, undisturbed, seed):
    """Of the process, twice with workers of its own; of a worker; of a cluster's scheduler: each after more points and a random while."""
    pytest.importorskip("distributed")
    store = tmp_path / "store"
    kills = (kill_the_process, kill_the_process, kill_a_worker, kill_the_scheduler, kill_the_process)
    kinds = ("serial", "processes", "", "", "processes")
    for number, (kill, kind, wait) in enumerate(zip(kills, kinds, moments(seed, len(kills), 0.0, 0.05))):
        before, least = cells(store), max(1, number * CELLS // 6)
        kill(store, kind, least, wait)
        there = cells(store)
        assert least <= len(there) < CELLS and there.items() >= before.items()
        loaded = ss.sweep.load(store)
        assert loaded.attrs["finished"] == int((~loaded.value.isnull()).sum()) == len(there)
    assert_resumes(store, cells(store), undisturbed)


def kill_the_process(store, kind, least, wait):
    """And nothing of it is left."""
    with started("-m", SWEEP, store, kind) as process:
        until(lambda: len(cells(store)) >= least or process.poll() is not None, "some points are finished")
        with pytest.raises(Exception, match="timed out"):
            process.wait(wait)
        process.kill()
        process.wait()
        assert_nothing_left(process.pid)


def kill_a_worker(store, _kind, least, _wait):
    """The sweep says so, and so does the next one with this executor."""
    with ss.sweep.processes(2) as executor:
        victim = next(iter(executor._processes or {}))

        def kill(done):
            if done * CELLS >= least and psutil.pid_exists(victim):
                os.kill(victim, signal.SIGKILL)

        lost = rf"the executor lost its workers \(BrokenProcessPool\); [0-9]+ of {CELLS} points are kept"
        with pytest.raises(NotFinished, match=lost):
            ss.sweep(**CALL, store=store, executor=executor, progress=kill)
        with pytest.raises(NotFinished, match="lost its workers"):
            swept(store, executor)


def kill_the_scheduler(store, _kind, least, _wait):
    """Of a cluster with one worker."""
    where = ("--scheduler-file", store.parent / "where", "--no-dashboard")
    with started("-m", "distributed.cli.dask_scheduler", "--port", "0", *where, cwd=store.parent) as head:
        until(where[1].exists, "the scheduler listens")
        worker = ("-m", "distributed.cli.dask_worker", *where, "--no-nanny", "--nthreads", "1")
        with (
            started(*worker, cwd=store.parent) as hand,
            started("-m", SWEEP, store, "dask", address(where[1])) as process,
        ):
            until(lambda: len(cells(store)) >= least or process.poll() is not None, "some points are finished")
            head.kill()
            _, error = process.communicate(timeout=100)
            assert process.returncode == 1 and "NotFinished: the executor lost its workers" in error, error
            hand.kill()
    assert not of_session(process.pid)


def test_ctrl_c(tmp_path, undisturbed):
    """In Python it is the exception that it always is."""

    def interrupt(done):
        if done > 0.5:
            signal.raise_signal(signal.SIGINT)

    # Where the tests are a shell's background job, Ctrl-C is ignored from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            ss.sweep(**CALL, store=tmp_path, progress=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(cells(tmp_path)) == CELLS // 2 + 1
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


def address(file):
    return json.loads(file.read_text())["address"]
