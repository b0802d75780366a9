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
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from methods import Method
from report import figure, table
from tasks import Task
from torch.optim.lr_scheduler import LambdaLR

POINTS = 100  # of a curve; each is a mean over the steps since the last one
WARM_UP, LEAST = 0.05, 0.02  # of the steps, of the rate
TRIALS = (0.25, 0.5, 1.0, 2.0, 4.0)
TUNING_SEED = 100


def main(make_task: Callable[[], Task], methods: Sequence[Method], steps: int) -> None:
    """Train by each method; worker 0 shows a table and writes training_<task>.json and .png, or shows what other rates give."""
    options = _options(steps)
    task = _made(make_task)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    try:
        if options.tune:
            _tune(task, methods, options.steps)
            return
        results = [_train(task, method, options.steps, options.seed) for method in methods]
        if dist.get_rank() == 0:
            _write({**_origin(task, options), "methods": results}, options.out)
        dist.barrier()  # gloo's threads, which let go of tensors after each exchange, are aborted where Python has ended by then
    finally:
        dist.destroy_process_group()


def _tune(task: Task, methods: Sequence[Method], steps: int) -> None:
    for method in methods:
        for trial in TRIALS:
            found = _train(task, replace(method, lr=trial * method.lr), steps, TUNING_SEED)
            if dist.get_rank() == 0:
                loss = "diverges" if found["diverged"] else f"held-out loss {found['held_out']['loss']:.4g}"
                print(f"{method.name}: lr {trial * method.lr:.3g}: {loss}", flush=True)


def _made(make_task: Callable[[], Task]) -> Task:
    try:
        return make_task()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        sys.exit(str(error) if os.environ["RANK"] == "0" else 1)


def _train(task: Task, method: Method, steps: int, seed: int) -> dict[str, Any]:
    model = task.model(seed)
    trainer = method.build(model, method.lr, seed)
    schedule = LambdaLR(trainer.optimizer, partial(_share, steps=steps))
    every, recent, curve, begin = math.ceil(steps / POINTS), [], [], time.perf_counter()
    for k, batch in zip(range(steps), task.batches(dist.get_rank(), seed)):
        trainer.optimizer.zero_grad()
        loss = task.loss(trainer.model, batch)
        loss.backward()
        trainer.step()
        schedule.step()
        recent.append(float(loss.detach()))
        if k == steps - 1:
            trainer.finish()
        if k % every == 0 or k == steps - 1:
            curve.append((k, _mean(recent), trainer.telemetry()["bytes_total"]))
            recent.clear()
            if not math.isfinite(curve[-1][1]):
                break  # it does not come back
    seconds = time.perf_counter() - begin
    if dist.get_rank() == 0:
        print(f"{method.name}: {k + 1} steps in {seconds:.0f} s", flush=True)
    return _result(task, method, model, curve, trainer.telemetry()) | {"seconds": round(seconds, 1)}


def _share(step: int, steps: int) -> float:
    """Of the rate: a linear warm-up, then a cosine."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return LEAST + (1 - LEAST) * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2


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
        "lr": method.lr,
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
    parser.add_argument(
        "--tune", action="store_true", help=f"show what other rates give, from seed {TUNING_SEED}, and end"
    )
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
