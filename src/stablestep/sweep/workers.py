"""Processes that work for this one, and never outlive it."""

import os
import signal
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread

from stablestep.errors import InvalidInput, whole
from stablestep.interrupt import ignored


def processes(count: int) -> ProcessPoolExecutor:
    """An executor of this many processes, which end when this one does, however it ends.

    >>> with processes(2) as executor:
    ...     executor.submit(abs, -1).result()
    1
    """
    count = whole("count", count, most=4096)
    # Not forked: JAX has threads, which a fork loses.
    executor = ProcessPoolExecutor(count, get_context("spawn"), prepare)
    with ignored():
        for _ in range(count):  # each starts a process, while no process is there to wait for it
            executor.submit(os.getpid)
    return executor


def prepare() -> None:
    """What a process does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that waits for this one deals with Ctrl-C
    end_with_parent()


def stop(executor: ProcessPoolExecutor) -> None:
    """End an executor and its processes now, whatever they do."""
    there = list((executor._processes or {}).values())
    executor.shutdown(wait=False, cancel_futures=True)
    for process in there:
        process.terminate()


@cache
def end_with_parent() -> None:
    """End this process when the one that started it is gone, by whatever signal: a pipe that both hold breaks."""
    parent = parent_process()
    if parent is not None:
        Thread(target=_outlive, args=(parent.sentinel,), daemon=True).start()


def _outlive(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def require_no_fork(executor: Executor) -> None:
    """Raise `InvalidInput` for processes that are forked, which hang as soon as they compute: JAX's threads are not there."""
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        raise InvalidInput(
            "the executor forks its processes, which hang in JAX; use sweep.processes(4), or "
            'ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")).'
        )
