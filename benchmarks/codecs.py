"""What each hook costs beyond an exchange of nothing: backwards of DDP workers on this machine, all hooks in turn in each round.

    python -m benchmarks.codecs [--workers 2] [--parameters 5000000] [--rounds 15]

The extra time is that over torch's noop hook in the same round, of the slowest worker; the median over rounds. CPU time is that of one
worker's process with all its threads, and depends less on what else the machine does. Gloo's own work is in both.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from rich.console import Console
from rich.table import Table
from torch.distributed.algorithms.ddp_comm_hooks.debugging_hooks import noop_hook
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.nn.parallel import DistributedDataParallel

import stablestep.torch as sst
from benchmarks.link.launch.trainer import model
from stablestep.compressor import QSGD, Compressor, Identity, RandK, ScaledSign, Sign, TopK

WARM_UP = 3
_BASE = "noop"


def _torch(hook: Callable, ddp: DistributedDataParallel) -> None:
    ddp.register_comm_hook(None, hook)


def _ours(compressor: Compressor, mask: str, ddp: DistributedDataParallel) -> None:
    sst.register(ddp, sst.HookState(compressor, mask=mask))


HOOKS: dict[str, Callable[[DistributedDataParallel], None]] = {
    _BASE: partial(_torch, noop_hook),
    "fp16 (torch)": partial(_torch, fp16_compress_hook),
    "Identity": partial(_ours, Identity(), "shared"),
    "RandK 1 %, elements": partial(_ours, RandK(fraction=0.01), "shared"),
    "RandK 1 %, blocks of 1024": partial(_ours, RandK(fraction=0.01, block=1024), "shared"),
    "RandK 1 %, elements, own": partial(_ours, RandK(fraction=0.01), "own"),
    "Sign": partial(_ours, Sign(), "own"),
    "ScaledSign": partial(_ours, ScaledSign(), "own"),
    "TopK 1 %": partial(_ours, TopK(fraction=0.01), "own"),
    "QSGD, 4 bits": partial(_ours, QSGD(7), "own"),
}


def backward(ddp: DistributedDataParallel, x: torch.Tensor) -> tuple[float, float]:
    """Wall and CPU seconds of one exchange of a fresh gradient."""
    ddp.zero_grad()
    loss = ddp(x).square().sum()
    dist.barrier()
    wall, cpu = time.perf_counter(), time.process_time()
    loss.backward()
    return time.perf_counter() - wall, time.process_time() - cpu


def worker(rank: int, workers: int, parameters: int, rounds: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    models = {}
    for name, register in HOOKS.items():
        models[name] = DistributedDataParallel(model(parameters), gradient_as_bucket_view=True)
        register(models[name])
    x = torch.randn(1, models[_BASE].module[0].in_features)
    found = [{name: backward(ddp, x) for name, ddp in models.items()} for _ in range(WARM_UP + rounds)]
    everyone = [None] * workers
    dist.all_gather_object(everyone, found[WARM_UP:])
    if rank == 0:
        torch.save(everyone, f"{folder}/found.pt")


def extras(everyone: list[list[dict[str, tuple[float, float]]]]) -> dict[str, tuple[float, float]]:
    """For each hook the median extra wall time of the slowest worker, and the median extra CPU time of a worker, in seconds."""
    rounds = list(zip(*everyone))
    return {
        name: (
            statistics.median(_over(each, name, 0, max) for each in rounds),
            statistics.median(_over(each, name, 1, statistics.mean) for each in rounds),
        )
        for name in HOOKS
        if name != _BASE
    }


def _over(workers: tuple[dict, ...], name: str, clock: int, reduce: Callable) -> float:
    return reduce([one[name][clock] for one in workers]) - reduce([one[_BASE][clock] for one in workers])


def table(found: dict[str, tuple[float, float]], parameters: int) -> Table:
    shown = Table(
        "hook", "ms", "of fp16", "CPU ms", "of fp16", "CPU ns per parameter", title="extra time of an exchange, median"
    )
    reference = found["fp16 (torch)"]
    for name, (wall, cpu) in found.items():
        shown.add_row(
            name,
            f"{1e3 * wall:.1f}",
            f"{wall / reference[0]:.2f}",
            f"{1e3 * cpu:.1f}",
            f"{cpu / reference[1]:.2f}",
            f"{1e9 * cpu / parameters:.1f}",
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--parameters", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(worker, (chosen.workers, chosen.parameters, chosen.rounds, folder), nprocs=chosen.workers)
        found = extras(torch.load(f"{folder}/found.pt"))
    Console(width=110).print(table(found, chosen.parameters))


if __name__ == "__main__":
    main()
