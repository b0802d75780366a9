"""One worker: trains a perceptron for a few steps with the hook it is told to use, and says how long and how many bytes."""

import datetime
import gc
import json
import os
import sys
import time
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from benchmarks.link import hooks, network
from benchmarks.link.options import WARM_UP

LAYERS = 8  # of 12.8 MB by default: two share a bucket of DDP


def main(rank: int, workers: int, limit: float) -> None:
    answers = _answers()
    timeout = datetime.timedelta(seconds=limit)
    dist.init_process_group("gloo", rank=rank, world_size=workers, timeout=timeout)
    for line in sys.stdin:
        task = json.loads(line)
        answers.write(json.dumps(measure(task["hook"], task["parameters"], task["steps"])) + "\n")
        answers.flush()
        gc.collect()


def measure(name: str, parameters: int, steps: int) -> dict[str, Any]:
    """Seconds of each step, and per step what the telemetry and the counters of the interface say was sent."""
    way = hooks.HOOKS[name](own := model(parameters))
    x = torch.randn(1, own[0].in_features, generator=torch.Generator().manual_seed(dist.get_rank()))
    for _ in range(WARM_UP):
        step(way, x)
    before = _sent(way)
    seconds = [step(way, x) / way.steps for _ in range(steps)]
    after = _sent(way)
    return {"seconds": seconds} | {key: (after[key] - before[key]) / (steps * way.steps) for key in after}


def model(parameters: int) -> nn.Sequential:
    """Square layers without biases; with one example at a time they cost next to nothing but the exchange."""
    width = round((parameters / LAYERS) ** 0.5)
    torch.manual_seed(0)
    layers = [layer for _ in range(LAYERS) for layer in (nn.Linear(width, width, bias=False), nn.Tanh())]
    return nn.Sequential(*layers)


def step(way: hooks.Way, x: torch.Tensor) -> float:
    """All that are timed together."""
    begin = time.perf_counter()
    for _ in range(way.steps):
        way.model.zero_grad()
        way.model(x).square().sum().backward()
        way.step()
    return time.perf_counter() - begin


def _sent(way: hooks.Way) -> dict[str, float]:
    # When the others have answered, all that we sent before has left the interface.
    dist.barrier()
    found: dict[str, float] = dict(network.counters())
    return found if way.telemetry is None else {**found, "telemetry": way.telemetry()["bytes_total"]}


def _answers():
    """The pipe to our parent; gloo prints to standard output too, which goes to standard error from now on."""
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return pipe


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
