"""Every compressor, noise, schedule and server once, for 3 to 8 coordinates: the rows of the contract that all must pass.

A public class that has no row here fails `test_the_table_equals_what_is_public`, and a class that is not public fails
`test_every_class_of_a_folder_is_public`; both say so.
"""

import inspect
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

import jax.numpy as jnp
import numpy as np

from stablestep import compressor, noise, schedule, server
from stablestep.compressor import (
    EF21,
    QSGD,
    Blockwise,
    ErrorFeedback,
    Identity,
    LocalClip,
    LowRank,
    Momentum,
    NaturalCompression,
    RandK,
    RandomSparsification,
    ScaledSign,
    Sign,
    TernGrad,
    TopK,
)
from stablestep.noise import Gaussian, Minibatch, StudentT
from stablestep.problem import FiniteSum, Quadratic
from stablestep.schedule import Clip, Constant, Custom, Limited, LocalNorms, Normalized, Note, Polynomial, StepLimit
from stablestep.server import HeavyBall, Majority, Plain

PLAIN = Quadratic(np.ones(3))
DATA = np.array([[1.0, -0.5, 0.2], [0.3, 2.0, -1.0], [-1.5, 0.4, 0.9], [0.1, -0.7, 1.1], [2.0, 1.0, 0.0]])
SUM = FiniteSum(lambda x, row: jnp.sum((x - 0.3 * row) ** 2) / 2, DATA, dim=3)  # its noise does not depend on x
SCALES = np.array([0.5, 1.0, 2.0])

UNBIASED = {
    "identity": Identity(),
    "bernoulli": RandomSparsification(4.0),
    "rand-2": RandK(2),
    "rand-block": RandK(fraction=0.5, block=2),
    "qsgd": QSGD(2),
    "terngrad": TernGrad(),
    "natural": NaturalCompression(),
}
BIASED = {
    "sign": Sign(),
    "scaled-sign": ScaledSign(),
    "top-1": TopK(1),
    "blockwise": Blockwise(bits=2, block=4),
    "blockwise-4": Blockwise(bits=4),
    "bernoulli-unscaled": RandomSparsification(4.0, scaled=False),
    "rand-2-unscaled": RandK(2, scaled=False),
    "clip": LocalClip(Identity(), threshold=1.0),
    "clip-sign": LocalClip(Sign(), threshold=1.0),
}
MEMORYLESS = UNBIASED | BIASED
REMEMBERING = {
    "feedback-top": ErrorFeedback(TopK(1)),
    "feedback-outside": ErrorFeedback(ScaledSign(), step="outside"),
    "feedback-blockwise": ErrorFeedback(Blockwise(bits=2, block=4)),
    "feedback-mask": ErrorFeedback(RandomSparsification(4.0, scaled=False)),
    "ef21": EF21(TopK(1)),
    "ef21-warm": EF21(RandK(1, scaled=False), warm=True),
    "signum": Momentum(Sign(), beta=0.9),
    "ef21-momentum": Momentum(EF21(TopK(1), warm=True), beta=0.9, warm=True),
    "low-rank": LowRank(rank=1),
    "clipped-feedback": LocalClip(ErrorFeedback(TopK(1)), threshold=2.0),
}
COMPRESSORS = MEMORYLESS | REMEMBERING

NOISES = {
    "zero": Gaussian(),
    "gaussian": Gaussian(SCALES, 0.2),
    "t1": StudentT(1.0, SCALES),
    "t1.5": StudentT(1.5, 0.7),
    "t-inf": StudentT(np.inf, SCALES),
    "t12-multivariate": StudentT(12.0, SCALES, "multivariate"),
    "minibatch": Minibatch(2),
}

SCHEDULES = {
    "constant": Constant(0.1),
    "polynomial": Polynomial(0.1, power=0.5),
    "custom": Custom(0.1, lambda t: 1 / (1 + t)),
    "local-norms": LocalNorms(0.1),
    "clip": Clip(0.1, threshold=1.0),
    "step-limit": StepLimit("4.2", eta=0.1, L1=0.0),
    "limited": Limited(0.1, 0.5, 1.0, 2.0, Note("a rule")),
    "normalized": Normalized(Polynomial(0.1, power=0.5)),
    "normalized-norms": Normalized(LocalNorms(0.1)),
}

SERVERS = {
    "plain": Plain(),
    "heavy-ball": HeavyBall(beta=0.9),
    "average": HeavyBall(beta=0.9, average=True),
    "nesterov": HeavyBall(beta=0.9, nesterov=True),
    "nesterov-average": HeavyBall(beta=0.9, nesterov=True, average=True),
    "warm": HeavyBall(beta=0.9, warm=True),
    "majority": Majority(),
}

TABLES: dict[ModuleType, dict] = {compressor: COMPRESSORS, noise: NOISES, schedule: SCHEDULES, server: SERVERS}


def root(module: ModuleType) -> type:
    """Its `Compressor`, `Noise`, …"""
    return getattr(module, module.__name__.rpartition(".")[2].capitalize())


def public(module: ModuleType) -> set[type]:
    """The classes that a user can make of a module: concrete, and derived from its root."""
    return _concrete(module, root(module))


def written(folder: ModuleType, kind: type) -> set[type]:
    """The concrete classes of a kind in all files of a folder: whatever somebody wrote, whether it can be named or not."""
    files = [import_module(f"{folder.__name__}.{found.name}") for found in iter_modules(folder.__path__)]
    return set().union(*(_concrete(file, kind) for file in files))


def _concrete(module: ModuleType, kind: type) -> set[type]:
    named = [value for name, value in vars(module).items() if not name.startswith("_") and inspect.isclass(value)]
    ours = {value for value in named if issubclass(value, kind)}
    return {value for value in ours if not (inspect.isabstract(value) or getattr(value, "__abstractvars__", ()))}


def named(classes: set[type]) -> str:
    """Their names, for the words of a failure."""
    return ", ".join(sorted(one.__name__ for one in classes))
