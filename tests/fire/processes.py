"""Commands as processes of their own, whom signals meet at any moment; and what they leave."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
    "PYTHONDONTWRITEBYTECODE": "1",
}
PATIENCE = 60.0  # seconds after which something that should have happened has not


@contextmanager
def started(*arguments, **options):
    """A process of Python in a session of its own, and nothing of that session afterwards."""
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )
    try:
        yield process
    finally:
        for one in of_session(process.pid):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.communicate()


def of_session(session):
    """The living processes that a process started, and those that these did."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(one.pid) == session and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found


def until(condition, what):
    """Wait for something that must happen."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"it did not happen in {PATIENCE:g} s: {what}"
        time.sleep(0.02)


def assert_nothing_left(session):
    """No process of the session is alive after a moment."""
    until(lambda: not of_session(session), f"the end of {[one.pid for one in of_session(session)]}")


def interrupted(process, after):
    """What a command says, and its status, when Ctrl-C meets it and all that it started after some seconds."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(after)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    out, error = process.communicate(timeout=PATIENCE)
    return out, error, process.returncode


def moments(seed, count, low, high):
    """Some times, other ones for other seeds."""
    draw = random.Random(seed)
    return [draw.uniform(low, high) for _ in range(count)]
