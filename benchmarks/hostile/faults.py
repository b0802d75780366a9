"""What goes wrong in a run of 250 steps."""

from dataclasses import dataclass

import numpy as np
import torch

Tensor = torch.Tensor
STEPS, BAD = 250, range(100, 105)


@dataclass(frozen=True)
class Fault:
    """A run in which something is wrong.

    Attributes:
        hot: the learning rate in units of the tuned one.
        omega_late: ω of the mask from the middle on, if it changes.
        worker: what the first worker's gradient is multiplied by in steps 100–104.
        student: the scale of Student-t noise (ν = 1.5) on every worker's gradient, in units of the first gradient's root mean square.
        spike: whether inputs grow 20 times and targets are shifted in steps 100–104.
    """

    name: str
    hot: float = 1.0
    omega_late: float | None = None
    worker: float = 1.0
    student: float = 0.0
    spike: bool = False

    def gradients(self, gradients: Tensor, step: int, first_norm: float, seed: int) -> Tensor:
        """The workers' gradients [N, d] as they are sent."""
        if step in BAD and self.worker != 1.0:
            gradients = gradients.clone()
            gradients[0] *= self.worker
        if self.student:
            noise = np.random.default_rng((seed, step)).standard_t(1.5, size=gradients.shape)
            scale = self.student * first_norm / gradients.shape[1] ** 0.5
            gradients = gradients + scale * torch.tensor(noise, dtype=gradients.dtype)
        return gradients

    def data(self, x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """A step's batches [N, b, …]."""
        if not (self.spike and step in BAD):
            return x, y
        return (20 * x if x.is_floating_point() else x), torch.roll(y, 1, 1)


HEALTHY = Fault("healthy")
FAULTS = [
    Fault("hot 3", hot=3.0),
    Fault("hot 10", hot=10.0),
    Fault("hot 30", hot=30.0),
    Fault("ω → 99", omega_late=99.0),
    Fault("worker × 10⁴", worker=1e4),
    Fault("worker NaN", worker=float("nan")),
    Fault("worker flipped", worker=-1.0),
    Fault("Student 1.5", student=0.3),
    Fault("data spike", spike=True),
]
