"""Ctrl-C and kill -9 of every command, at any moment: one sentence, status 130, and nothing left behind."""

import os
import signal
import subprocess
from contextlib import suppress

import psutil
import pytest

from tests.fire.processes import assert_nothing_left, interrupted, moments, of_session, started, until
from tests.fire.reproducing import NAMES

SPEC = """
problem = { type = "Quartic", dim = 8 }
agents = [{ count = 4, noise = { type = "Gaussian", sigma1 = 0.1 }, compressor = { type = "RandomSparsification", omega = 4.0 } }]
schedule = { type = "Constant", eta = 0.01 }
run = { x0 = 0.5, steps = 1000, runs = 2000 }
grid = { omega = [1.0, 2.0, 4.0, 8.0], count = [1, 2, 4, 8] }
"""
COMMANDS = {
    "limits": ["limits", "SPEC"],
    "critical": ["critical", "SPEC", "--method", "simulation"],
    "simulate": ["simulate", "SPEC", "--out", "OUT"],
    "sweep": ["sweep", "SPEC", "--store", "OUT", "--of", "critical"],
    "sweep in processes": ["sweep", "SPEC", "--store", "OUT", "--of", "critical", "--jobs", "2"],
    "explore": ["explore", "SPEC", "--out", "OUT", "--yes"],
    "reproduce": ["reproduce", "--quick", "--out", "OUT"],
}


def begun(process):
    """Whether it has come to the imports that take long; before them it is Python's own to answer."""
    try:
        return process.poll() is not None or psutil.Process(process.pid).memory_info().rss > 3e7
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def command(tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC)
    places = {"SPEC": tmp_path / "spec.toml", "OUT": tmp_path / "out"}
    return lambda name: ["-m", "stablestep.cli", *(places.get(word, word) for word in COMMANDS[name])]


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c(name, command, tmp_path, seed):
    """While it imports, and somewhere in its work."""
    for wait in (*moments(seed, 1, 0.0, 0.5), *moments(seed + 1, 1, 1.0, 6.0)):
        with started(*command(name), cwd=tmp_path) as process:
            until(lambda process=process: begun(process), "the imports begin")
            out, error, status = interrupted(process, wait)
            words = [line for line in error.splitlines() if "finished in" not in line and not line.endswith("...")]
            assert "Traceback" not in out + error and (status, len(words)) in ((130, 1), (0, 0), (0, 1)), (
                wait,
                status,
                out,
                error,
            )
            assert status == 0 or words[0].startswith("Interrupted"), error
            assert_nothing_left(process.pid)
    drafts = [path for path in tmp_path.rglob(".*") if path.is_file() and path.name != ".writable"]
    assert not drafts


def test_ctrl_c_twice_ends_at_once(command, tmp_path):
    with started(*command("critical"), cwd=tmp_path) as process:
        until(lambda: begun(process), "the imports begin")
        os.killpg(process.pid, signal.SIGINT)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130 and "Traceback" not in process.stderr.read()


def files(out):
    """What a reproduction leaves, but for the page, which says when it was made."""
    found = [path for path in out.rglob("*") if path.is_file() and path.name != "report.html"]
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def test_reproduce_is_killed_and_goes_on(tmp_path, seed):
    """Its workers end with it, and what was finished is not computed again."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = ("-m", "tests.fire.reproducing")
    with started(*command, out) as process:
        until(lambda: list(out.glob("sections/*.json")) or process.poll() is not None, "a section is finished")
        assert len(of_session(process.pid)) > 1, "there are workers"
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments(seed, 1, 0.0, 0.3)[0])
        process.kill()
        process.wait()
        assert_nothing_left(process.pid)
    finished = {path.stem for path in out.glob("sections/[!.]*.json")}
    for folder in (out, whole):
        with started(*command, folder) as process:
            said = process.communicate(timeout=100)[1]
        assert process.returncode == 0, said
        kept = [
            line.split(": ")[1].split(", ") for line in said.splitlines() if line.startswith("Kept of an earlier run")
        ]
        assert kept == [[name for name in NAMES if name in finished]] * (folder == out)
    assert files(out) == files(whole) and {f"sections/{name}.json" for name in NAMES} <= files(out).keys()
    pages = [(folder / "report.html").read_text() for folder in (out, whole)]
    assert pages[0].count("data:image/png") == pages[1].count("data:image/png") == 5
