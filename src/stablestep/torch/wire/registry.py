"""Which codec a compressor has: the one table."""

from stablestep import compressor as library
from stablestep.compressor import Compressor
from stablestep.compressor.feedback import Wrapper
from stablestep.errors import InvalidInput, one_of, require, shown
from stablestep.torch.wire.biased import MajorityCodec, ScaledSignCodec, SignCodec, TopKCodec
from stablestep.torch.wire.blockwise import BlockwiseCodec
from stablestep.torch.wire.codec import Codec
from stablestep.torch.wire.low_rank import LowRankCodec
from stablestep.torch.wire.masks import BernoulliCodec, DenseCodec, RandKCodec
from stablestep.torch.wire.memory import STAGES
from stablestep.torch.wire.rounding import NaturalCodec, QSGDCodec, TernGradCodec

VOTES = ("mean", "majority")
CODECS: dict[type[Compressor], type[Codec]] = {
    library.Identity: DenseCodec,
    library.RandomSparsification: BernoulliCodec,
    library.RandK: RandKCodec,
    library.QSGD: QSGDCodec,
    library.TernGrad: TernGradCodec,
    library.NaturalCompression: NaturalCodec,
    library.Sign: SignCodec,
    library.ScaledSign: ScaledSignCodec,
    library.TopK: TopKCodec,
    library.LowRank: LowRankCodec,
    library.Blockwise: BlockwiseCodec,
}


def codec(compressor: Compressor, vote: str = "mean") -> Codec:
    """The codec of a compressor of the library, or of the one inside its memories.

    Args:
        compressor: with the memories of `memory`, or none.
        vote: "mean", or for signs "majority".

    Raises:
        InvalidInput: for any other compressor, or a vote without signs.
    """
    leaf = compressor
    while isinstance(leaf, Wrapper) and type(leaf) in STAGES:
        leaf = leaf.inner
    found = CODECS.get(type(leaf))
    if found is None:
        known = ", ".join(kind.__name__ for kind in CODECS)
        raise InvalidInput(f"{_refused(leaf)}; known: {known}.")
    one_of("vote", vote, VOTES)
    require(
        leaf is compressor or leaf.remembers <= isinstance(compressor, library.Momentum),
        f"{leaf.name} remembers its error itself; use it without {compressor.name}.",
    )
    majority = vote == "majority"
    require(
        not majority or compressor.sends_signs,
        f'vote is "majority", but {compressor.name} does not send signs; use Sign().',
    )
    return (MajorityCodec if majority else found)(leaf)


def _refused(compressor: object) -> str:
    if isinstance(compressor, type):
        return f"{compressor.__name__} (a class; write {compressor.__name__}(…)) has no torch version"
    if isinstance(compressor, Wrapper):
        return f"{compressor.name} has no torch version yet; use {', '.join(kind.__name__ for kind in STAGES)} or none"
    if isinstance(compressor, Compressor):
        return f"{compressor.name} has no torch version"
    return f"compressor is {shown(compressor)}, but must be a Compressor, such as TopK(fraction=0.01)"
