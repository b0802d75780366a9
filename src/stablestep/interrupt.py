"""Ctrl-C at the command line: one sentence and exit status 130, from the first import to the last one.

Python's own answer is an exception wherever the program happens to be: a traceback while modules are imported, a crash where XLA's threads
still run when the interpreter ends. A program that imports the library keeps Python's answer; nothing here concerns it.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import parent_process
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

STATUS = 130
_happened = False


def leave(*_: Any) -> None:
    """End at once, where nothing was begun that must be put away."""
    # Neither `print`, which may be interrupted itself, nor an exception, which somebody might catch.
    os.write(2, b"Interrupted: nothing was written.\n")
    os._exit(STATUS)


def watch() -> None:
    """From the first import on, if this process is the command line; its workers leave Ctrl-C to it."""
    if is_command(sys.argv, sys.orig_argv) and current_thread() is main_thread():
        signal.signal(signal.SIGINT, leave if parent_process() is None else signal.SIG_IGN)
        # Python's tracker tidies up after an abrupt end, and need not tell.
        sys.warnoptions.append("ignore::UserWarning:multiprocessing.resource_tracker")


def is_command(arguments: list[str], original: list[str]) -> bool:
    """Whether a program was started as `stablestep` or as `python -m stablestep`.

    >>> is_command(["/usr/bin/stablestep", "limits"], ["python", "/usr/bin/stablestep", "limits"]), is_command(["x.py"], ["python", "x.py"])
    (True, False)
    """
    script = Path(arguments[0]).stem if arguments else ""
    module = original[original.index("-m") + 1 :][:1] if "-m" in original else []
    return script == "stablestep" or (script in ("-m", "__main__") and module in (["stablestep"], ["stablestep.cli"]))


@contextmanager
def unwinding() -> Iterator[None]:
    """Inside, the first Ctrl-C of a command is a `KeyboardInterrupt`, so that what is finished can be kept; a second one ends at once."""
    if signal.getsignal(signal.SIGINT) is not leave:
        yield
        return
    # Now, because an exception in the middle of loading its native parts is a crash.
    import_module("jax")
    signal.signal(signal.SIGINT, _unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, leave)


def _unwind(*_: Any) -> None:
    global _happened
    _happened = True
    signal.signal(signal.SIGINT, leave)
    raise KeyboardInterrupt


def happened() -> bool:
    """Whether there was one, which somebody may have made another error of."""
    return _happened


def run(command: Callable[[], Any]) -> None:
    """Run the command line to its end, which an interruption makes an abrupt one: XLA's threads may still run."""
    sys.unraisablehook = _heard
    try:
        command()
    except SystemExit as end:
        if end.code == STATUS:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(STATUS)
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left that it could save


def _heard(unraisable: Any) -> None:
    """An interruption inside a destructor or a callback, which Python only prints."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        leave()
    sys.__unraisablehook__(unraisable)


@contextmanager
def ignored() -> Iterator[None]:
    """For processes that are started inside: they never hear of Ctrl-C, from their first moment on."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


watch()
