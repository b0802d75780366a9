"""Worker processes of one gloo group, started once, that run cell after cell."""

import datetime
import multiprocessing
import os
import tempfile
import traceback
from multiprocessing.connection import Connection, wait
from typing import Any

WORKERS = 4
LIMIT = 300.0  # seconds after which a run counts as stuck
_CONTEXT = multiprocessing.get_context("forkserver")
# Imported once, in the server that all workers are forked from.
_CONTEXT.set_forkserver_preload(["benchmarks.frontier.entrants", "benchmarks.frontier.train"])


class Failed(RuntimeError):
    """A worker raised, died or hung."""


class Pool:
    """N workers; a context manager. After a failure the next cell gets new ones."""

    def __init__(self, workers: int = WORKERS, limit: float = LIMIT):
        self.workers, self.limit = workers, limit
        self._members: list[tuple[Any, Connection]] = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, cell: Any) -> dict[str, Any]:
        """What worker 0 found.

        Raises:
            Failed: with the worker's words.
        """
        self._members = self._members or self._started()
        try:
            for _, line in self._members:
                line.send(cell)
            return self._answers()[0]
        except BaseException as error:
            self.stop()
            if isinstance(error, (EOFError, OSError)):
                raise Failed("a worker died") from error
            raise

    def stop(self) -> None:
        """End all workers."""
        for process, line in self._members:
            process.kill()
            process.join()
            line.close()
        self._members = []

    def _answers(self) -> list[dict[str, Any]]:
        waiting = [line for _, line in self._members]
        found = {}
        while len(found) < len(waiting):
            ready = wait([line for line in waiting if line not in found], self.limit)
            if not ready:
                raise Failed(f"no end after {self.limit:g} s")
            for line in ready:
                found[line] = line.recv()
                if isinstance(found[line], str):
                    raise Failed(found[line])
        return [found[line] for line in waiting]

    def _started(self) -> list[tuple[Any, Connection]]:
        handle, rendezvous = tempfile.mkstemp(prefix="frontier")
        os.close(handle)
        members = []
        for rank in range(self.workers):
            near, far = _CONTEXT.Pipe()
            process = _CONTEXT.Process(target=_work, args=(rank, self.workers, rendezvous, far), daemon=True)
            process.start()
            far.close()
            members.append((process, near))
        return members


def _work(rank: int, workers: int, rendezvous: str, line: Connection) -> None:
    import torch
    import torch.distributed as dist

    from benchmarks.frontier.entrants import ENTRANTS
    from benchmarks.frontier.ledger import Ledger
    from benchmarks.frontier.tasks import task
    from benchmarks.frontier.train import train

    torch.set_num_threads(1)
    patience = datetime.timedelta(seconds=LIMIT)
    dist.init_process_group("gloo", f"file://{rendezvous}", patience, workers, rank)
    ledger = Ledger().watch()
    while True:
        try:
            cell = line.recv()
        except EOFError:
            return
        try:
            line.send(train(task(cell.task), ENTRANTS[cell.entrant], cell, ledger))
        except Exception:
            line.send(f"worker {rank}: {traceback.format_exc()}")
