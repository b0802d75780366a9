"""The constants of the theorems from gradients of a real run, made by any framework, with uncertainty."""

from stablestep.estimate.smoothness import Smoothness, smoothness
from stablestep.estimate.tail import Tail, tail
from stablestep.estimate.value import Estimate, of_mean
from stablestep.estimate.variance import AffineVariance, affine_variance

__all__ = ["AffineVariance", "Estimate", "Smoothness", "Tail", "affine_variance", "of_mean", "smoothness", "tail"]
