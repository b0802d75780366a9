"""The SDE by torchsde in float32: Euler with diagonal noise, all runs in one batch, with PyTorch's own threads."""

import torch
import torchsde

from benchmarks.workload import Paths, Workload, first_outside


@torch.no_grad()
def simulate(work: Workload, seed: int) -> Paths:
    x0 = torch.full((work.runs, work.dim), work.x0)
    times = torch.linspace(0, work.steps * work.dt, work.times, dtype=torch.float64)
    # Told the step, it builds a tree that is quicker than the one that `sdeint` makes itself.
    brownian = torchsde.BrownianInterval(times[0], times[-1], x0.shape, x0.dtype, dt=work.dt, entropy=seed)
    x = torchsde.sdeint(Sde(work), x0, times, brownian, method="euler", dt=work.dt)
    gradient = x * x * x
    loss, norm = torch.sum(gradient * x, dim=2) / 4, torch.linalg.vector_norm(gradient, dim=2)
    distance = torch.linalg.vector_norm(x, dim=2)
    return Paths(loss.numpy(), norm.numpy(), first_outside(work, distance.numpy()))


class Sde(torch.nn.Module):
    """dX = f dt + g dW, under the names that torchsde expects."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, work: Workload):
        super().__init__()
        self.work = work

    def f(self, t, x):
        gradient = x * x * x
        return self.work.eta / 2 * 3 * x * x * gradient - gradient

    def g(self, t, x):
        work, square = self.work, (x * x * x) ** 2
        noise = work.sigma1**2 * torch.sum(square, dim=1, keepdim=True)
        return torch.sqrt(work.eta / work.count * (noise + work.omega * (square + noise)))
