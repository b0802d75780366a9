"""A training run with what it remembers, for the checks with real processes."""

import torch
from torch.optim import SGD

import stablestep.torch as sst
from stablestep.torch import rule
from tests.torch.models import batch, loss, perceptron, wrapped


class Saved:
    """A run whose `parts` are saved and resumed, with the `model` that is looked at."""

    def save(self, path):
        torch.save({name: part.state_dict() for name, part in self.parts.items()}, path)
        return self

    def load(self, path):
        saved = torch.load(path, weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        return self

    def parameters(self):
        return torch.cat([parameter.detach().flatten() for parameter in self.model.parameters()])


class Run(Saved):
    """A training run under DDP."""

    def __init__(self, compressor, mask="shared", dtype=torch.float32, scaler=None, group_bytes=1000, **options):
        self.state = sst.HookState(compressor, mask=mask, seed=3, group_bytes=group_bytes, scaler=scaler)
        self.model = wrapped(perceptron(dtype, seed=1), self.state, **options)
        self.inner = SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.optimizer = sst.StableStep(self.inner, self.state, rule.LocalNorms())
        self.parts = dict(model=self.model.module, hook=self.state, optimizer=self.optimizer)
        self.dtype, self.scaler = dtype, scaler

    def train(self, rank, steps, bad=None):
        for step in steps:
            self.optimizer.zero_grad()
            x = batch(rank, step, self.dtype)
            if bad is not None and rank == 1:
                x[0, 0] = bad
            if self.scaler is None:
                loss(self.model, x).backward()
                self.optimizer.step()
            else:
                self.scaler.scale(loss(self.model, x)).backward()
                self.scaler.step(self.optimizer)
                self.scaler.update()
        return self

    def memory(self):
        return self.state.state_dict()["memory"]
