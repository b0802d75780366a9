"""What is simulated and recorded, the same for StableStep and for every baseline."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Workload:
    """f = Σx⁴/4 and `count` agents, with a constant step.

    method: "sparse", Gaussian noise of standard deviation sigma1 ‖∇f‖ and Bernoulli sparsification (W1); "sign", the
    sign of the gradient with Student-t noise (W2); or "sde", Euler-Maruyama of the SDE of the sparse messages (W3), where
    each of `steps` is a substep of length eta/substeps.
    """

    method: str = "sparse"
    count: int = 1
    dim: int = 1000
    runs: int = 1000
    steps: int = 200
    times: int = 21
    eta: float = 1e-3
    x0: float = 0.5
    radius: float = 1e4
    sigma1: float = 0.1
    omega: float = 8.0
    df: float = 2.5
    scale: float = 1.0
    substeps: int = 16

    @property
    def dt(self) -> float:
        return self.eta / self.substeps

    @property
    def iterations(self) -> np.ndarray:
        """The recorded iterations: `times` of them, 0 and `steps` included."""
        return np.unique(np.round(np.linspace(0, self.steps, self.times)).astype(int))

    @property
    def interval(self) -> int:
        """Steps between two recorded iterations, for baselines that need them equally spaced."""
        intervals = set(np.diff(self.iterations).tolist())
        assert len(intervals) == 1, "choose `times` so that times - 1 divides steps"
        return intervals.pop()

    @property
    def coordinate_steps(self) -> int:
        return self.runs * self.dim * self.steps


class Paths(NamedTuple):
    """What a baseline keeps of every run: (times, runs), and the iteration of divergence (-1: none) of each run."""

    loss: np.ndarray
    gradient_norm: np.ndarray
    diverged_at: np.ndarray


def first_outside(work: Workload, distance: np.ndarray) -> np.ndarray:
    """The first recorded iteration at which ‖x‖, (times, runs), is beyond the radius or not finite, −1 if none.

    For solvers that watch no path between the recorded times: an explosion does not come back.
    """
    outside = ~(distance <= work.radius)
    return np.where(outside.any(axis=0), work.iterations[outside.argmax(axis=0)], -1)


def summary(paths: Paths, iterations: np.ndarray) -> dict[str, np.ndarray]:
    """The statistics that `ss.simulate` reports; a diverged run counts as infinite."""
    gone = (paths.diverged_at >= 0) & (paths.diverged_at <= iterations[:, None])
    loss = np.where(gone, np.inf, np.asarray(paths.loss, np.float64))
    norm = np.where(gone, np.inf, np.asarray(paths.gradient_norm, np.float64))
    return {
        "loss_mean": loss.mean(axis=1),
        "loss_quantile": np.quantile(loss, QUANTILES, axis=1, method="higher"),
        "gradient_norm_mean": norm.mean(axis=1),
        "gradient_norm_quantile": np.quantile(norm, QUANTILES, axis=1, method="higher"),
        "diverged": gone.mean(axis=1),
    }
