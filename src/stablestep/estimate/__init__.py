"""The constants of the theorems from gradients of a real run, made by any framework, with uncertainty."""

from stablestep.estimate.dissimilarity import Dissimilarity, dissimilarity
from stablestep.estimate.smoothness import Smoothness, smoothness
from stablestep.estimate.survey import Survey, survey
from stablestep.estimate.tail import Tail, scales, tail
from stablestep.estimate.value import Estimate, of_mean
from stablestep.estimate.variance import AffineVariance, affine_variance

__all__ = [
    "AffineVariance",
    "Dissimilarity",
    "Estimate",
    "Smoothness",
    "Survey",
    "Tail",
    "affine_variance",
    "dissimilarity",
    "of_mean",
    "scales",
    "smoothness",
    "survey",
    "tail",
]
