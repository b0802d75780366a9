"""Compiled kernels on disk: used by the next process, where one says; a folder that cannot be used is one warning and no cache."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import pytest

import stablestep
from stablestep.cache import cache

SCRIPT = """
import sys, jax, stablestep as ss
from jax import monitoring
seen = []
monitoring.register_event_listener(lambda event, **_: seen.append(event))
assert jax.config.jax_compilation_cache_dir is None, "set on import"
ss.cache(*sys.argv[2:])
setup = ss.Setup(ss.problem.Quartic(2), ss.Agents(1, ss.noise.Gaussian(sigma0=1.0)))
found = eval(sys.argv[1])
print(float(found), *(sum(event.endswith(end) for event in seen) for end in ("cache_hits", "compile_requests_use_cache")))
"""
SIMULATE = "ss.simulate(setup, schedule=ss.schedule.Constant(0.1), x0=1.0, steps=3, runs=4).loss_mean[-1]"
CRITICAL = "ss.stability.critical_step(setup, x0=1.0).step"


@pytest.fixture(autouse=True)
def as_before():
    names = ("compilation_cache_dir", "persistent_cache_min_compile_time_secs", "persistent_cache_min_entry_size_bytes")
    before = {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def run(*arguments, what=SIMULATE, **variables):
    """What a process of its own finds, how many of its kernels were kept, and how many it needs."""
    environment = {**os.environ, "STABLESTEP_CACHE": "", **{name: str(value) for name, value in variables.items()}}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, what, *map(str, arguments)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found, hits, kernels = done.stdout.split()
    return found, int(hits), int(kernels)


def test_the_second_process_compiles_nothing(tmp_path):
    first, second = run(tmp_path), run(XDG_CACHE_HOME=tmp_path, STABLESTEP_CACHE=tmp_path)
    assert first[0] == second[0]
    assert first[1] == 0 < second[1] == second[2]


# f at the start, and the runs; f at the start in both precisions, messages, f after one of them, and a round of members.
@pytest.mark.parametrize(("what", "kernels"), [(SIMULATE, 2), (CRITICAL, 5)])
def test_few_kernels(tmp_path, what, kernels):
    assert run(tmp_path, what=what)[2] == kernels


def test_an_entry_that_is_broken_is_compiled_anew(tmp_path):
    first = run(tmp_path)
    for entry in tmp_path.rglob("*-cache"):
        entry.write_bytes(entry.read_bytes()[:40])
    again = run(tmp_path)
    assert again[:2] == (first[0], 0)


def test_the_variable_moves_it_or_switches_it_off(monkeypatch, tmp_path):
    monkeypatch.setenv("STABLESTEP_CACHE", str(tmp_path / "moved"))
    assert cache().parent == tmp_path / "moved"
    monkeypatch.setenv("STABLESTEP_CACHE", "0")
    assert cache() is None
    assert cache(tmp_path / "given").parent == tmp_path / "given"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other places")
def test_the_default_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("STABLESTEP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache().parent == tmp_path / "stablestep"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache().parent == tmp_path / "home" / ".cache" / "stablestep"


def test_a_folder_that_cannot_be_used_is_one_warning(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot be used .*; nothing is kept") as said:
        assert cache(tmp_path / "file" / "inside") is None
    assert len(said) == 1


@pytest.mark.skipif(os.name != "posix", reason="of /proc, where nobody can write")
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_folder_where_nobody_can_write(tmp_path):
    with pytest.warns(UserWarning, match="cannot be used"):
        assert cache("/proc/stablestep") is None


def test_the_public_name_is_the_function():
    assert stablestep.cache is cache
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert callable(stablestep.plot.loss)
