"""Torch codecs: equal to the JAX compressors on the same uniforms, unbiased, and of the counted length."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from stablestep import compressor as c
from stablestep.errors import InvalidInput
from stablestep.torch import HookState, compress
from stablestep.torch.wire.biased import largest
from stablestep.torch.wire.memory import STAGES
from stablestep.torch.wire.randomness import drawer
from stablestep.torch.wire.registry import CODECS, codec
from tests.instances import named, public
from tests.statistics import assert_fails, assert_mean

UNBIASED = {
    "identity": c.Identity(),
    "bernoulli": c.RandomSparsification(4.0),
    "rand-k": c.RandK(k=3),
    "rand-fraction": c.RandK(fraction=0.25),
    "rand-block": c.RandK(fraction=0.3, block=16),
    "rand-all": c.RandK(fraction=1.0),
    "qsgd-1": c.QSGD(1),
    "qsgd-3": c.QSGD(3),
    "qsgd-300": c.QSGD(300),
    "terngrad": c.TernGrad(),
    "natural": c.NaturalCompression(),
}
BIASED = {
    "bernoulli-unscaled": c.RandomSparsification(4.0, scaled=False),
    "rand-k-unscaled": c.RandK(k=3, scaled=False),
    "rand-block-unscaled": c.RandK(fraction=0.3, block=16, scaled=False),
    "sign": c.Sign(),
    "scaled-sign": c.ScaledSign(),
    "top": c.TopK(k=3),
    "top-fraction": c.TopK(fraction=0.3),
    "blockwise-1": c.Blockwise(bits=1, block=64),
    "blockwise-2": c.Blockwise(bits=2, block=100),
    "blockwise-4": c.Blockwise(bits=4),
}
ALL = UNBIASED | BIASED
WRAPPERS = {
    "LocalClip": c.LocalClip(c.Identity(), threshold=1.0),
}
HARD = [3e-39, -1e-45, 1.0, -2.0, 3e38, -0.75, 0.0, 1e-30]


def in_jax(compressor, uniform, gradient):
    drawn = jnp.asarray(uniform[: compressor.draws(len(gradient))].numpy())
    return np.asarray(eqx.filter_jit(compressor.compress)(drawn, jnp.asarray(gradient.numpy())))


def sent(compressor, gradient, uniform):
    chosen = codec(compressor)
    return chosen.encode(gradient, chosen.plan(lambda count: uniform[:count], len(gradient)))


@pytest.mark.parametrize(("dim", "dtype"), [(1003, torch.float32), (13, torch.float64)])
@pytest.mark.parametrize("name", ALL)
def test_equal_to_jax(name, dim, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    gradient, uniform = (
        torch.randn(dim, generator=generator, dtype=dtype),
        torch.rand(dim, generator=generator, dtype=dtype),
    )
    wanted, found = in_jax(ALL[name], uniform, gradient), compress(ALL[name], uniform, gradient)
    assert found.dtype == dtype
    np.testing.assert_allclose(found.numpy(), wanted, rtol=8 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize(
    "name",
    [name for name in ALL if not name.startswith(("sign", "scaled-sign", "qsgd", "natural", "blockwise"))],
)
def test_hard_numbers(name):
    """Subnormal numbers may be lost: JAX flushes them."""
    gradient, uniform = torch.tensor(HARD), torch.linspace(0.1, 0.9, len(HARD))
    wanted = ALL[name].compress(jnp.asarray(uniform[: ALL[name].draws(8)].numpy()), jnp.asarray(gradient.numpy()))
    np.testing.assert_allclose(
        compress(ALL[name], uniform, gradient).numpy(), np.asarray(wanted), rtol=1e-6, atol=1e-37
    )


def test_natural_numbers_at_the_edge():
    """Subnormal numbers are sent as 0, the largest binade is not left."""
    found = compress(c.NaturalCompression(), torch.zeros(len(HARD)), torch.tensor(HARD)).tolist()
    assert found[:4] == [0.0, 0.0, 1.0, -2.0] and found[4] == 2.0**127 and found[5:7] == [-1.0, 0.0]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_gradient_has_the_usual_length(name, bad):
    good, uniform = torch.ones(40), torch.linspace(0, 0.99, 40)
    broken = good.clone()
    broken[7] = bad
    assert sent(ALL[name], broken, uniform).shape == sent(ALL[name], good, uniform).shape


def test_every_public_compressor_is_sent_or_refused():
    """A new compressor is neither until it has a codec in the registry and a row here, or a row among the wrappers."""
    two_rounds = {c.LowRank}  # in test_low_rank.py
    known, rows = set(CODECS) - two_rounds, {type(compressor) for compressor in ALL.values()}
    unsent = public(c) - set(CODECS) - set(STAGES) - {type(compressor) for compressor in WRAPPERS.values()}
    assert not unsent, f"no codec in torch/wire/registry.py, and no row in WRAPPERS of this file: {named(unsent)}"
    assert not known - rows, f"a codec, but no row in UNBIASED or BIASED of this file: {named(known - rows)}"
    assert rows == known


@pytest.mark.parametrize("dim", [1003, 256])
@pytest.mark.parametrize(
    "name", ["identity", "rand-k", "rand-block", "bernoulli", "top", *list(BIASED)[:3], "scaled-sign"]
)
def test_the_stated_error_is_that_of_the_message(name, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    gradient, uniform = (torch.rand(dim, generator=generator, dtype=torch.float64) for _ in range(2))
    gradient[5:9], gradient[-100:] = 0, -gradient[-100:]
    gradient[256:512] = 0  # a block of signs that is all zero
    chosen, square = codec(ALL[name]), gradient.square().sum()
    plan = chosen.plan(lambda count: uniform[:count], dim)
    stated = chosen.squared_error(gradient, chosen.encode(gradient, plan), square)
    exact = (compress(ALL[name], uniform, gradient) - gradient).square().sum()
    assert float(stated) == pytest.approx(float(exact), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", ["bernoulli", "rand-k", "rand-block", "qsgd-3", "terngrad", "natural"])
def test_unbiased(name, seed):
    gradient = torch.tensor([1.0, -0.5, 2.0, 0.3, 0.0, -3.0, 0.25, 1.7] * 4, dtype=torch.float64)
    found = torch.stack([message(UNBIASED[name], gradient, seed, step) for step in range(2000)]).numpy()
    assert_mean(found, gradient.numpy())
    with assert_fails("a mean of 1.5 times the gradient"):
        assert_mean(found, 1.5 * gradient.numpy())


def message(compressor, gradient, seed, step):
    chosen = codec(compressor)
    plan = chosen.plan(drawer(gradient, seed, step, 0), len(gradient))
    total = torch.zeros_like(gradient)
    chosen.add(total, chosen.encode(gradient, plan), plan)
    return total


@pytest.mark.parametrize(("signs", "scale"), [(c.Sign(), 1.0), (c.ScaledSign(), 1 / 600)])
def test_a_zero_has_a_fair_sign(signs, scale, seed):
    gradient = torch.zeros(600, dtype=torch.float64)
    gradient[0] = -1.0
    found = torch.stack([message(signs, gradient, seed, step) for step in range(1000)]).numpy() / scale
    assert (found[:, 0] == -1).all() and set(np.unique(found[:, 1:256])) == {-1.0, 1.0}
    assert not found[:, 256:].any()  # blocks that are all zero say so
    assert_mean(found[:, 1:256], np.zeros(255))
    with assert_fails("a sign of mean 0.2"):
        assert_mean(found[:, 1:256], np.full(255, 0.2))


@pytest.mark.parametrize("name", ALL)
def test_the_counted_bits(name):
    """Where a length is random or padded to bytes, it is within a byte of the library's count for a shared mask."""
    dim, compressor = 1024, ALL[name]
    payload = sent(compressor, torch.randn(dim), torch.linspace(0, 0.999, dim))
    extra = {"sign": 8, "scaled-sign": 8, "top": 3 * (32 - 10), "top-fraction": 307 * (32 - 10)}.get(
        name, 0
    )  # zero blocks; whole indices
    assert abs(8 * payload.nbytes - compressor.bits(dim, shared=True) - extra) < 32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ALL)
def test_half_precision(name, dtype):
    gradient, uniform = torch.randn(64).to(dtype), torch.rand(64)
    found, single = compress(ALL[name], uniform, gradient), compress(ALL[name], uniform, gradient.float())
    assert found.dtype == dtype
    torch.testing.assert_close(found, single.to(dtype))


@pytest.mark.parametrize("name", WRAPPERS)
def test_what_remembers_or_clips_is_refused(name):
    with pytest.raises(InvalidInput, match=f"{name} has no torch version yet") as caught:
        HookState(c.Momentum(WRAPPERS[name], beta=0.9))
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize("kind", ["normal", "few-values", "product", "one", "zero", "bad", "half"])
@pytest.mark.parametrize("count", [1, 700, 9_000])
def test_the_largest_are_found(kind, count, seed):
    """Also where a sample misleads: ties, zeros, and the gradient of a layer, which repeats its rows."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(300_000, generator=generator)
    vector = {
        "normal": normal,
        "few-values": (3 * normal).round(),
        "product": (normal[:300, None] * normal[300:1300].abs()).flatten(),
        "one": torch.ones(300_000),
        "zero": torch.zeros(300_000).index_fill_(0, torch.arange(5, 300_000, 60_000), -2.0),
        "bad": normal.where(normal.abs() < 2, torch.tensor(float("nan"))).index_fill_(0, torch.tensor([7]), -np.inf),
        "half": normal.half(),
    }[kind]
    wanted = (-vector.abs().nan_to_num(nan=0.0)).argsort(stable=True)[:count].sort().values
    assert torch.equal(largest(vector, count), wanted)


def test_bad_input():
    class Own(c.Identity):
        pass

    with pytest.raises(InvalidInput, match="Own has no torch version; known: Identity, "):
        codec(Own())
    with pytest.raises(InvalidInput, match=r"ErrorFeedback remembers, but one gradient has no past; use"):
        compress(c.ErrorFeedback(c.TopK(k=1)), torch.zeros(0), torch.ones(8))
    with pytest.raises(InvalidInput, match=r"a class; write RandK\(…\)"):
        codec(c.RandK)
    with pytest.raises(InvalidInput, match='vote is "majority", but RandK does not send signs'):
        codec(c.RandK(k=1), vote="majority")
    with pytest.raises(InvalidInput, match='must be "mean" or "majority"'):
        codec(c.Sign(), vote="most")
    with pytest.raises(InvalidInput, match='vote is "majority", but ScaledSign does not send signs'):
        codec(c.ScaledSign(), vote="majority")
    with pytest.raises(InvalidInput, match="k is 9, but there are only 8"):
        compress(c.TopK(k=9), torch.zeros(0), torch.ones(8))
    with pytest.raises(InvalidInput, match="levels is 20000"):
        codec(c.QSGD(20_000))
