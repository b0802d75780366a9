"""The workers, each in its own namespace: a task goes in as a line of JSON, a result comes out as one."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.link import network

_PORT = "29577"


class Lost(RuntimeError):
    """A worker is gone or stuck."""


class Processes:
    """Worker processes; whatever happens, they are gone when the `with` block ends."""

    def __init__(self, workers: int, limit: float):
        self.answers: queue.Queue[tuple[int, str]] = queue.Queue()
        self.folder = tempfile.TemporaryDirectory()
        self.errors = [Path(self.folder.name) / f"{rank}.txt" for rank in range(workers)]
        self.processes = [_started(rank, workers, limit, self.errors[rank]) for rank in range(workers)]
        for rank, process in enumerate(self.processes):
            threading.Thread(target=self._listen, args=(rank, process.stdout), daemon=True).start()

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.folder.cleanup()

    def ask(self, task: dict[str, Any], limit: float) -> list[dict[str, Any]]:
        """All workers' results, by rank.

        Raises:
            Lost: if a worker ends, or the time is over.
        """
        for process in self.processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # of a dead one we hear below
                process.stdin.write(json.dumps(task) + "\n")
                process.stdin.flush()
        deadline, found = time.monotonic() + limit, {}
        while len(found) < len(self.processes):
            rank, line = self._next(deadline, limit)
            if not line:
                raise Lost(f'worker {rank} ended in the middle of "{task["hook"]}": {self._last_words(rank)}')
            found[rank] = json.loads(line)
        return [found[rank] for rank in sorted(found)]

    def _next(self, deadline: float, limit: float) -> tuple[int, str]:
        try:
            return self.answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise Lost(f"no answer from a worker within {limit:.0f} s.") from None

    def _listen(self, rank: int, lines: Any) -> None:
        for line in lines:
            self.answers.put((rank, line))
        self.answers.put((rank, ""))

    def _last_words(self, rank: int) -> str:
        status = self.processes[rank].wait(10)  # its output has ended
        lines = self.errors[rank].read_text().strip().splitlines()
        return lines[-1] if lines else f"no message, exit status {status}."


def _started(rank: int, workers: int, limit: float, errors: Path) -> subprocess.Popen[str]:
    settings = {
        "GLOO_SOCKET_IFNAME": network.INTERFACE,
        "MASTER_ADDR": network.address(0),
        "MASTER_PORT": _PORT,
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // workers)),
    }
    worker = [sys.executable, "-m", "benchmarks.link.launch.trainer", str(rank), str(workers), str(limit)]
    with errors.open("w") as file:
        return subprocess.Popen(
            [*network.in_namespace(rank), *worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env={**os.environ, **settings},
            start_new_session=True,  # Ctrl-C reaches only us, and we end the workers
        )
