"""Small models whose gradients are known without DDP, for the checks with real processes."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import stablestep.torch as sst
from stablestep.torch.wire.randomness import drawer
from stablestep.torch.wire.registry import codec

SMALL = 1e-4  # MB: a bucket for each layer, once DDP has rebuilt its buckets after the first step


class Mixed(nn.Module):
    """Parameters of two types, one without entries."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 5).float(), nn.Linear(6, 1).double()
        self.empty = nn.Parameter(torch.zeros(0))

    def forward(self, x):
        return self.second(x) + self.first(x.float()).sum(1, keepdim=True).double() + self.empty.sum().double()


class Branches(nn.Module):
    """A layer that is used and one that is not."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(6, 1), nn.Linear(6, 1)

    def forward(self, x):
        return self.used(x)


def perceptron(dtype=torch.float64, seed=0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 20), nn.Tanh(), nn.Linear(20, 1)).to(dtype)


def wrapped(module: nn.Module, state: sst.HookState | None = None, **options) -> DistributedDataParallel:
    ddp = DistributedDataParallel(module, bucket_cap_mb=SMALL, **options)
    if state is not None:
        ddp.register_comm_hook(state, sst.hook)
    return ddp


def batch(rank: int, step: int, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1000 * step + rank)
    return torch.randn(8, 6, generator=generator, dtype=torch.float64).to(dtype)


def loss(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return ((model(x).squeeze(1) - x.sum(1)) ** 2).mean()


def gradients(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """This worker's own gradient, parameter by parameter, past DDP."""
    return [g.detach().flatten() for g in torch.autograd.grad(loss(module, x), list(module.parameters()))]


def of_all(values: torch.Tensor, workers: int) -> list[torch.Tensor]:
    found = [torch.empty_like(values) for _ in range(workers)]
    dist.all_gather(found, values.contiguous())
    return found


def expected(state: sst.HookState, parameter: torch.Tensor, own: torch.Tensor, step: int, vote="mean") -> torch.Tensor:
    """The mean message, by one process from all workers' gradients and the same randomness."""
    settings, total = state.settings, torch.zeros_like(own)
    number, chosen = state.run.roster.number(parameter), codec(settings.compressor, vote)
    for worker, gradient in enumerate(of_all(own, dist.get_world_size())):
        draw = drawer(gradient, settings.seed, step, number, None if settings.shared else worker)
        plan = chosen.plan(draw, len(gradient))
        chosen.add(total, chosen.encode(gradient, plan), plan)
    return chosen.finish(total / dist.get_world_size())


def arrived(state, *norms):
    """As if an exchange had brought these workers' norms."""
    meter = state.run.meter
    meter.begin(1.0)
    meter.gradient([torch.tensor(norms[0] ** 2, dtype=torch.float64)])
    one = torch.ones((), dtype=torch.float64)
    meter.end(torch.tensor(norms, dtype=torch.float64), [0 * one], [one])
