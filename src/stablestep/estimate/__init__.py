"""The constants of the theorems from gradients of a real run, made by any framework, with uncertainty."""

from stablestep.estimate.dissimilarity import Dissimilarity, dissimilarity
from stablestep.estimate.probe import Probe, probe
from stablestep.estimate.smoothness import Smoothness, smoothness
from stablestep.estimate.tail import Tail, scales, tail
from stablestep.estimate.value import Estimate, of_mean
from stablestep.estimate.variance import AffineVariance, affine_variance

__all__ = [
    "AffineVariance",
    "Dissimilarity",
    "Estimate",
    "Probe",
    "Smoothness",
    "Tail",
    "affine_variance",
    "dissimilarity",
    "of_mean",
    "probe",
    "scales",
    "smoothness",
    "tail",
]
