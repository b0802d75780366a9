"""A governor with a probe."""

import torch

import stablestep.torch as sst
from benchmarks.hostile.faults import HEALTHY
from benchmarks.hostile.messages import randk
from benchmarks.hostile.run import Batches, Task
from benchmarks.hostile.trainings import WORKERS
from stablestep.compressor import Identity
from stablestep.torch.step.rule import Governor

POOL = 64  # steps' batches that a probe may use


def probed(task: Task, budget: str) -> Governor:
    """A governor that asks the probe, with the horizon that it has where none is given."""

    def probe() -> float:
        x, y = zip(*(batches.at(0) for _ in range(POOL)))
        advice = sst.probe(
            task.model,
            lambda model, batch: task.training.loss(model(batch[0]), batch[1]),
            list(zip(torch.cat(x), torch.cat(y))),
            agents=WORKERS,
            compressor=randk(task.omega) if task.omega else Identity(),
            mask="own",
            optimizer=lambda parameters: task.make(parameters, task.rate),
            budget=budget,
            seed=task.seed,
        )
        task.spent += advice.cost
        assert advice.step is not None
        return advice.step

    batches = Batches(Task(task.training, task.make, task.lr, task.omega, HEALTHY, 500 + task.seed))
    return Governor(probe=probe)
