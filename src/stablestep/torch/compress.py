"""Which codec a compressor has, and what comes out at the other end of the wire."""

import torch

from stablestep import compressor as library
from stablestep.compressor import Compressor
from stablestep.errors import InvalidInput, require
from stablestep.torch.biased import MajorityCodec, SignCodec, TopKCodec
from stablestep.torch.codec import Codec, working
from stablestep.torch.mask import Bernoulli, Chosen, Dense
from stablestep.torch.quantize import NaturalCodec, QSGDCodec, TernGradCodec

_CODECS: dict[type[Compressor], type[Codec]] = {
    library.Identity: Dense,
    library.RandomSparsification: Bernoulli,
    library.RandK: Chosen,
    library.QSGD: QSGDCodec,
    library.TernGrad: TernGradCodec,
    library.NaturalCompression: NaturalCodec,
    library.Sign: SignCodec,
    library.TopK: TopKCodec,
}


def codec(compressor: Compressor, vote: str = "mean") -> Codec:
    """The codec of a compressor of the library.

    Raises:
        InvalidInput: for any other compressor, or a vote without signs.
    """
    found = _CODECS.get(type(compressor))
    if found is None:
        known = ", ".join(kind.__name__ for kind in _CODECS)
        raise InvalidInput(f"{_named(compressor)} has no torch version; known: {known}.")
    require(vote in ("mean", "majority"), f'vote is "{vote}", but must be "mean" or "majority".')
    require(
        vote == "mean" or found is SignCodec,
        f'vote is "majority", but {type(compressor).__name__} does not send signs; use Sign().',
    )
    return (MajorityCodec if vote == "majority" else found)(compressor)


def _named(compressor: object) -> str:
    kind = compressor if isinstance(compressor, type) else type(compressor)
    return f"{kind.__name__} (a class; write {kind.__name__}(…))" if isinstance(compressor, type) else kind.__name__


def compress(compressor: Compressor, uniform: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The compressed gradient [d] for given uniforms, after a journey through the bytes of the wire.

    Agrees to rounding with `compressor.compress` of the JAX version on the same uniforms; a zero among signs (see `SignCodec`) differs.

    >>> compress(library.RandK(k=1), torch.tensor([0.7, 0.2]), torch.tensor([3.0, 4.0])).tolist()
    [0.0, 8.0]
    """
    compressor.check(len(gradient))
    chosen = codec(compressor)
    plan = chosen.plan(lambda count: uniform[:count], len(gradient))
    message = torch.zeros_like(working(gradient))
    chosen.add(message, chosen.encode(gradient, plan), plan)
    return message.to(gradient.dtype)
