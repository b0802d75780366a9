"""The law of one agent's gradient noise."""

from stablestep.noise.base import Noise
from stablestep.noise.gaussian import Gaussian
from stablestep.noise.minibatch import Minibatch
from stablestep.noise.student_t import StudentT

__all__ = ["Gaussian", "Minibatch", "Noise", "StudentT"]
