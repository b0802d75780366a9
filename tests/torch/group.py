"""Real processes: a gloo group on this machine, with a hard limit in time, so that a deadlock is a failure and not a hang."""

import datetime
import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

Check = Callable[[int, int, Path], None]
LIMIT = 90.0
_CONTEXT = multiprocessing.get_context("forkserver")
# Imported once, in the server that all workers are forked from.
_CONTEXT.set_forkserver_preload(["stablestep.torch", "tests.torch.models"])


def together(workers: int, *checks: Check, limit: float = LIMIT, folder: Path | None = None) -> None:
    """Run the checks one after the other in `workers` processes: check(rank, workers, folder), the folder of this call or the given one.

    Raises:
        AssertionError: with the worker's traceback, if a check fails or the time is over.
    """
    _CONTEXT.set_forkserver_preload(["stablestep.torch", *{check.__module__ for check in checks}])
    with tempfile.TemporaryDirectory() as name:
        own = Path(name)
        processes = [
            _CONTEXT.Process(target=_worker, args=(rank, workers, own, folder or own, checks), daemon=True)
            for rank in range(workers)
        ]
        for process in processes:
            process.start()
        try:
            _watch(processes, own, limit)
        finally:
            for process in processes:
                process.kill()
                process.join()


def patience(seconds: float) -> None:
    """How long this worker waits for others from now on: healthy steps on a busy machine need more than a fault should take."""
    dist.distributed_c10d._set_pg_timeout(datetime.timedelta(seconds=seconds))


def _watch(processes: list, folder: Path, limit: float) -> None:
    deadline = time.monotonic() + limit
    while any(process.is_alive() for process in processes):
        failures = sorted(folder.glob("*.failure"))
        assert not failures, "\n".join(path.read_text() for path in failures)
        last = {path.stem: path.read_text() for path in folder.glob("*.check")}
        assert time.monotonic() < deadline, f"no end after {limit} s; the workers were in {last}"
        time.sleep(0.02)
    failures = sorted(folder.glob("*.failure"))
    assert not failures, "\n".join(path.read_text() for path in failures)
    assert len(list(folder.glob("*.done"))) >= 1, "no worker came to its end"


def _worker(rank: int, workers: int, own: Path, folder: Path, checks: tuple[Check, ...]) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{own}/rendezvous",
            rank=rank,
            world_size=workers,
            timeout=datetime.timedelta(seconds=LIMIT),
        )
        for check in checks:
            (own / f"{rank}.check").write_text(check.__name__)
            check(rank, workers, folder)
        (own / f"{rank}.done").touch()
    except BaseException:
        (own / f"{rank}.failure").write_text(f"worker {rank}:\n{traceback.format_exc()}")
        raise
    os._exit(0)  # a group whose other workers are gone cannot be destroyed in order
