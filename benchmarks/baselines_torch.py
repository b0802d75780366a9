"""The workload in PyTorch, float32, vectorised over runs, with PyTorch's own threads."""

import torch

from benchmarks.workload import Paths, Workload


@torch.no_grad()
def simulate(work: Workload, seed: int) -> Paths:
    torch.manual_seed(seed)
    x = torch.full((work.runs, work.dim), work.x0)
    diverged_at = torch.full((work.runs,), -1)
    recorded = set(work.iterations.tolist())
    loss, norm = [], []
    for k in range(work.steps + 1):
        gradient = x * x * x
        if k in recorded:
            loss.append(torch.sum(gradient * x, dim=1) / 4)
            norm.append(torch.linalg.vector_norm(gradient, dim=1))
        within = torch.linalg.vector_norm(x, dim=1) <= work.radius
        diverged_at[(diverged_at < 0) & ~within] = k
        if k < work.steps:
            moved = x - work.eta * mean_message(work, gradient)
            x = torch.where(within[:, None], moved, x)
    return Paths(torch.stack(loss).numpy(), torch.stack(norm).numpy(), diverged_at.numpy())


def mean_message(work: Workload, gradient: torch.Tensor) -> torch.Tensor:
    if work.count == 1:
        return message(work, gradient)
    return sum(message(work, gradient) for _ in range(work.count)) / work.count


def message(work: Workload, gradient: torch.Tensor) -> torch.Tensor:
    if work.method == "sign":
        noise = torch.distributions.StudentT(work.df).sample(gradient.shape)
        return torch.sign(gradient + work.scale * noise)
    deviation = work.sigma1 * torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    noisy = gradient + deviation * torch.randn_like(gradient)
    kept = torch.rand_like(gradient) < 1 / (1 + work.omega)
    return torch.where(kept, (1 + work.omega) * noisy, 0.0)
