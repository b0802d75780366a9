"""A training of the hook with the governor beside one of local steps, saved on every worker, for the checks of what goes wrong in it."""

import os
import warnings
from contextlib import contextmanager

import torch
from torch.optim import SGD, AdamW

import stablestep.torch as sst
from stablestep import compressor as c
from tests.torch.models import batch, loss, of_all, perceptron, wrapped

MEMORY = c.ErrorFeedback(c.Blockwise(bits=2, block=64))


class Training:
    """Two models that are trained side by side on the same data."""

    def __init__(self):
        hooked, self.alone = perceptron(torch.float32, seed=1), perceptron(torch.float32, seed=1)
        self.model = wrapped(hooked)
        self.state = sst.register(self.model, sst.HookState(MEMORY, seed=3))
        inner = SGD(self.model.parameters(), lr=0.02, momentum=0.9)
        self.optimizer = sst.StableStep(inner, self.state, sst.rule.Governor())
        self.local = sst.LocalSteps(self.alone, AdamW(self.alone.parameters(), lr=0.01), 2, MEMORY, seed=3)
        self.done = 0

    def train(self, rank, until, factor=1.0):
        """Steps up to this one, with this worker's loss multiplied by a factor."""
        for step in range(self.done, until):
            x = batch(rank, step, torch.float32)
            self.optimizer.zero_grad()
            found = loss(self.model, x)
            self.state.note(found)
            (factor * found).backward()
            self.optimizer.step()
            self.local.optimizer.zero_grad()
            (factor * loss(self.alone, x)).backward()
            self.local.step()
            self.done = step + 1
        return self

    @property
    def hooked(self):
        return _vector(self.model)

    @property
    def met(self):
        """The point of the local steps where all workers meet, also in the middle of a round."""
        return self.local.anchor.point.clone()

    @property
    def ends(self):
        """All that a resumed training must have as an undisturbed one has it."""
        return [self.hooked, _vector(self.alone), self.met, self.local.memory, *self.memory]

    @property
    def memory(self):
        """What the hook remembers on this worker."""
        return [value.clone() for named in self.state.state_dict()["memory"].values() for value in named.values()]

    def loss(self, model):
        """On data of their own."""
        with torch.no_grad():
            return float(sum(loss(model, batch(99, step, torch.float32)) for step in range(8)))

    def parts(self):
        return {
            "model": self.model.module,
            "hook": self.state,
            "optimizer": self.optimizer,
            "local": self.local,
            "inner": self.local.optimizer,
        }

    def save(self, folder, rank):
        """A checkpoint as a training should write it: under another name first, so that whoever dies there leaves no half of one."""
        path = folder / f"{self.done:04d}-{rank}.pt"
        torch.save({name: part.state_dict() for name, part in self.parts().items()}, path.with_suffix(".draft"))
        os.replace(path.with_suffix(".draft"), path)

    def load(self, folder, rank, step):
        saved = torch.load(folder / f"{step:04d}-{rank}.pt", weights_only=True)
        for name, part in self.parts().items():
            part.load_state_dict(saved[name])
        self.done = step
        return self


def last(folder, workers):
    """The last step of which every worker has a checkpoint."""
    saved = [path.name[:4] for path in folder.glob("*.pt")]
    return max(int(step) for step in saved if saved.count(step) == workers)


def _vector(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def assert_same_everywhere(training, workers):
    """The model of the hook, and the point of the local steps, are bit for bit the same on all workers."""
    for own in (training.hooked, training.met):
        assert own.isfinite().all()
        assert all(torch.equal(other, own) for other in of_all(own, workers))


@contextmanager
def warned():
    """The warnings that are given inside, all of them."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield [] if found is None else found
