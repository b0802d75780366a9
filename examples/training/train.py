"""The training loop that both examples share: several methods one after another, from the same start and on the same batches."""

import argparse
import datetime
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from report import figure, table
from tasks import Task
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR

import stablestep as ss
import stablestep.torch as sst

POINTS = 100  # of a curve; each is a mean over the steps since the last one


@dataclass(frozen=True)
class Method:
    """What the workers send, and the step: the rule's, from η0, times (1 + k)^-decay."""

    name: str
    compressor: ss.compressor.Compressor
    eta0: float
    rule: type[sst.rule.Rule] = sst.rule.Constant
    decay: float = 0.0


def main(make_task: Callable[[], Task], methods: Sequence[Method], steps: int) -> None:
    """Train by each method; worker 0 shows a table and writes training_<task>.json and .png."""
    options = _options(steps)
    task = _made(make_task)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    try:
        results = [_train(task, method, options.steps, options.seed) for method in methods]
        if dist.get_rank() == 0:
            _write({**_origin(task, options), "methods": results}, options.out)
    finally:
        dist.destroy_process_group()


def _made(make_task: Callable[[], Task]) -> Task:
    try:
        return make_task()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        sys.exit(str(error) if os.environ["RANK"] == "0" else 1)


def _train(task: Task, method: Method, steps: int, seed: int) -> dict[str, Any]:
    ddp = DistributedDataParallel(task.model(seed))
    state = sst.register(ddp, sst.HookState(method.compressor, seed=seed))
    optimizer = sst.StableStep(torch.optim.SGD(ddp.parameters(), lr=method.eta0), state, method.rule())
    schedule = LambdaLR(optimizer, lambda k: (1 + k) ** -method.decay)
    every, recent, curve, begin = math.ceil(steps / POINTS), [], [], time.perf_counter()
    for k, batch in zip(range(steps), task.batches(dist.get_rank(), seed)):
        optimizer.zero_grad()
        loss = task.loss(ddp, batch)
        loss.backward()
        optimizer.step()
        schedule.step()
        recent.append(float(loss.detach()))
        if k % every == 0 or k == steps - 1:
            curve.append((k, _mean(recent), state.telemetry()["bytes_total"]))
            recent.clear()
            if not math.isfinite(curve[-1][1]):
                break  # it does not come back
    seconds = time.perf_counter() - begin
    if dist.get_rank() == 0:
        print(f"{method.name}: {k + 1} steps in {seconds:.0f} s", flush=True)
    return _result(task, method, ddp.module, curve, state.telemetry()) | {"seconds": round(seconds, 1)}


def _mean(losses: list[float]) -> float:
    """Over steps and workers."""
    total = torch.tensor(losses, dtype=torch.float64).mean()
    dist.all_reduce(total)
    return float(total) / dist.get_world_size()


def _result(task: Task, method: Method, model: torch.nn.Module, curve: list, telemetry: dict) -> dict[str, Any]:
    steps, losses, sent = zip(*curve)
    last = losses[-math.ceil(len(losses) / 20) :]
    final = sum(last) / len(last)
    return {
        "name": method.name,
        "compressor": repr(method.compressor),
        "rule": method.rule.__name__,
        "eta0": method.eta0,
        "decay": method.decay,
        "final_loss": _plain(final),
        "held_out": {name: _plain(value) for name, value in _held_out(task, model).items()},
        "bytes_sent": sent[-1],
        "skipped": telemetry["skipped"],
        "diverged": not final < losses[0],
        "curve": {"step": steps, "loss": list(map(_plain, losses)), "bytes": sent},
    }


def _held_out(task: Task, model: torch.nn.Module) -> dict[str, float]:
    """On worker 0 alone, since all have the same model."""
    return task.evaluate(model) if dist.get_rank() == 0 else {}


def _plain(value: float) -> float | None:
    """JSON has neither infinity nor NaN."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _origin(task: Task, options: argparse.Namespace) -> dict[str, Any]:
    workers = dist.get_world_size()
    return {
        "task": task.name,
        "command": f"torchrun --nproc_per_node {workers} {_script()} --steps {options.steps} --seed {options.seed}",
        "date": datetime.date.today().isoformat(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "stablestep": version("stablestep"),
        },
        "workers": workers,
        "steps": options.steps,
        "seed": options.seed,
        "parameters": sum(parameter.numel() for parameter in task.model(options.seed).parameters()),
    }


def _write(record: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"training_{record['task']}"
    path.with_suffix(".json").write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    figure(record).savefig(path.with_suffix(".png"), dpi=110)
    table(record)
    print(f"Written: {path.with_suffix('.json')} and {path.with_suffix('.png')}")


def _script() -> str:
    return f"examples/training/{Path(sys.argv[0]).name}"


def _options(steps: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Start with: torchrun --nproc_per_node 4 {_script()}")
    parser.add_argument("--steps", type=_whole(1), default=steps, help="of each method (default: %(default)s)")
    parser.add_argument("--seed", type=_whole(0), default=0, help="of the start, the batches and the compressors")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the results (default: this one)")
    options = parser.parse_args()
    if "RANK" not in os.environ:
        sys.exit(f"This trains with several processes; start it with: torchrun --nproc_per_node 4 {_script()}")
    return options


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} must be a whole number of at least {least}.")
        return int(text)

    return parse
