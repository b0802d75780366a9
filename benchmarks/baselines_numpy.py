"""The workload in NumPy, float64, vectorised over runs."""

import numpy as np

from benchmarks.workload import Paths, Workload


def simulate(work: Workload, seed: int) -> Paths:
    rng = np.random.default_rng(seed)
    x = np.full((work.runs, work.dim), work.x0)
    diverged_at = np.full(work.runs, -1)
    recorded = set(work.iterations.tolist())
    loss, norm = [], []
    for k in range(work.steps + 1):
        gradient = x * x * x
        if k in recorded:
            loss.append(np.sum(gradient * x, axis=1) / 4)
            norm.append(np.linalg.norm(gradient, axis=1))
        within = np.linalg.norm(x, axis=1) <= work.radius
        diverged_at[(diverged_at < 0) & ~within] = k
        if k < work.steps:
            moved = x + move(work, rng, x, gradient)
            x = np.where(within[:, None], moved, x)
    return Paths(np.array(loss), np.array(norm), diverged_at)


def move(work: Workload, rng: np.random.Generator, x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    if work.method != "sde":
        return -work.eta * mean_message(work, rng, gradient)
    drift = work.eta / 2 * 3 * x * x * gradient - gradient
    square = gradient * gradient
    noise = work.sigma1**2 * np.sum(square, axis=1, keepdims=True)
    variance = work.eta / work.count * (noise + work.omega * (square + noise))
    return work.dt * drift + np.sqrt(work.dt * variance) * rng.standard_normal(x.shape)


def mean_message(work: Workload, rng: np.random.Generator, gradient: np.ndarray) -> np.ndarray:
    if work.count == 1:
        return message(work, rng, gradient)
    return sum(message(work, rng, gradient) for _ in range(work.count)) / work.count


def message(work: Workload, rng: np.random.Generator, gradient: np.ndarray) -> np.ndarray:
    if work.method == "sign":
        return np.sign(gradient + work.scale * rng.standard_t(work.df, gradient.shape))
    deviation = work.sigma1 * np.linalg.norm(gradient, axis=1, keepdims=True)
    noisy = gradient + deviation * rng.standard_normal(gradient.shape)
    kept = rng.random(gradient.shape) < 1 / (1 + work.omega)
    return np.where(kept, (1 + work.omega) * noisy, 0)
