"""The blockwise codec: pieces and short last blocks, fields of bits, and what it does not have to send."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from stablestep.compressor import Blockwise
from stablestep.torch import compress
from stablestep.torch.wire.bits import PIECE, pack_fields, unpack_fields
from stablestep.torch.wire.registry import codec

NOTHING = torch.zeros(0)


@pytest.mark.parametrize(("block", "dim"), [(7, 3 * PIECE + 5), (1024, 2 * PIECE), (50_000, 450_001), (9, 4)])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_pieces_are_seamless(bits, block, dim, seed):
    vector = torch.randn(dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    vector[dim // 3 : dim // 2] = 0
    compressor = Blockwise(bits, block)
    wanted = np.asarray(compressor.compress(jnp.zeros(0), jnp.asarray(vector.numpy())))
    np.testing.assert_allclose(compress(compressor, NOTHING, vector).numpy(), wanted, rtol=1e-12, atol=0)
    found = codec(compressor)
    doubled = compressor.bits(dim) + 32 * len(compressor.limits) * -(-dim // block) + 32 * -(-dim // block)
    assert 0 <= 8 * found.encode(vector, None).nbytes - doubled < 8  # the means of a float64 are one


@pytest.mark.parametrize("count", [0, 1, 7, 64, 1001])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_fields(width, count, seed):
    codes = torch.randint(2**width, (count,), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    packed = pack_fields(codes, width)
    assert len(packed) == -(-count * width // 8)
    assert torch.equal(unpack_fields(packed, width, count), codes)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_zeros_are_sent_as_zeros(bits):
    vector = torch.zeros(10)
    vector[7] = -3.0
    found = compress(Blockwise(bits, 4), NOTHING, vector)
    assert not found[:4].any() and not found[8:].any()
    assert float(compress(Blockwise(bits, 4), NOTHING, torch.tensor([0.0, -0.0, 1.0, 1.0])).min()) >= 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_what_is_no_number_arrives_as_none(bits, bad):
    vector = torch.ones(12)
    vector[5] = bad
    found = compress(Blockwise(bits, 4), NOTHING, vector)
    assert not found[4:8].isfinite().all() and (found[8:] == 1).all()
