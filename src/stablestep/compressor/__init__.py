"""What an agent sends instead of its gradient: a function of the gradient and of given uniforms, its ω or α and its size in bits.

A compressor is unbiased, E C(g) = g and E‖C(g) − g‖² ≤ ω‖g‖² (P Def. 3.3), or biased; then it may be contractive,
E‖C(g) − g‖² ≤ (1 − α)‖g‖². Wrappers remember (`ErrorFeedback`, `EF21`, `Momentum`) or clip (`LocalClip`). Bits are the expected length of
one message with 32-bit floats; `shared` masks need no indices.
"""

from stablestep.compressor.base import Compressor, Identity
from stablestep.compressor.biased import ScaledSign, Sign, TopK
from stablestep.compressor.blockwise import Blockwise
from stablestep.compressor.feedback import EF21, ErrorFeedback, LocalClip, Momentum
from stablestep.compressor.low_rank import LowRank
from stablestep.compressor.masks import RandK, RandomSparsification
from stablestep.compressor.rounding import QSGD, NaturalCompression, TernGrad

__all__ = [
    "EF21",
    "QSGD",
    "Blockwise",
    "Compressor",
    "ErrorFeedback",
    "Identity",
    "LocalClip",
    "LowRank",
    "Momentum",
    "NaturalCompression",
    "RandK",
    "RandomSparsification",
    "ScaledSign",
    "Sign",
    "TernGrad",
    "TopK",
]
