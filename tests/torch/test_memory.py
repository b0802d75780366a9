"""Memories of one tensor: equal to those of the JAX methods on the same uniforms, over several messages."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from stablestep import compressor as c
from stablestep.errors import InvalidInput
from stablestep.torch import HookState, survey
from stablestep.torch.exchange.parameter import sent
from stablestep.torch.exchange.settings import Settings
from stablestep.torch.wire.memory import STAGES, outside
from stablestep.torch.wire.randomness import drawer
from stablestep.torch.wire.transmit import Channel
from tests.instances import named
from tests.torch.test_codecs import ALL

MEMORIES = {
    "feedback-top": c.ErrorFeedback(c.TopK(fraction=0.1)),
    "feedback-outside": c.ErrorFeedback(c.ScaledSign(), step="outside"),
    "feedback-blockwise": c.ErrorFeedback(c.Blockwise(bits=2, block=64)),
    "feedback-natural": c.ErrorFeedback(c.NaturalCompression()),
    "feedback-sign": c.ErrorFeedback(c.Sign()),
    "feedback-identity": c.ErrorFeedback(c.Identity()),
    "ef21-top": c.EF21(c.TopK(k=3)),
    "ef21-mask": c.EF21(c.RandK(fraction=0.3, scaled=False)),
    "ef21-warm": c.EF21(c.TopK(k=3), warm=True),
    "ef21-momentum": c.Momentum(c.EF21(c.TopK(k=3)), beta=0.9),
    "ef21-momentum-warm": c.Momentum(c.EF21(c.RandK(k=4, scaled=False), warm=True), beta=0.8, warm=True),
    "signum": c.Momentum(c.Sign(), beta=0.9),
    "momentum-qsgd": c.Momentum(c.QSGD(4), beta=0.5, warm=True),
    "feedback-momentum": c.ErrorFeedback(c.Momentum(c.TopK(k=2), beta=0.5)),
    "momentum-feedback": c.Momentum(c.ErrorFeedback(c.TopK(k=2)), beta=0.5),
    "feedback-ef21": c.ErrorFeedback(c.EF21(c.TopK(k=2))),
}


class Torch:
    """The workers of one tensor without processes: their memories, and the mean message as the hook makes it."""

    def __init__(self, compressor, workers, seed, shared=False, scale=1.0, uniforms=False):
        self.settings = Settings(compressor, "shared" if shared else "own", seed)
        self.workers, self.scale, self.step, self.number = workers, scale, 0, 0
        self.kept, self.uniforms = [None] * workers, uniforms  # whether masks come from uniforms, as in JAX

    def message(self, gradients):
        """The mean message of these gradients, and every worker's own messages in flight."""
        flats = [gradient * self.scale for gradient in gradients]
        codec, chain = self.settings.coding_for(torch.nn.Parameter(gradients[0]), begun=self.kept[0] is not None)

        def draw(worker):
            stream = drawer(gradients[0], self.settings.seed, self.step, self.number, worker)
            return stream.__call__ if self.uniforms else stream

        channel = Channel(codec, self.workers, self.settings.shared, draw)
        going = [sent(channel, flat, rank, self.scale, chain, self.kept[rank]) for rank, flat in enumerate(flats)]
        for one in going:
            if channel.summed:
                one.from_sum(sum(each.payload for each in going) / self.workers)
            else:
                one.from_rows([each.row() for each in going])
        self.step += 1
        for flat in flats:
            torch.testing.assert_close(flat, flats[0], rtol=0, atol=0, equal_nan=True)
        return flats[0] / self.scale, going

    def exchange(self, gradients):
        message, going = self.message(gradients)
        # What an exchange leaves of the stages that acted, then the start of those that did not.
        self.kept = [one.sending.after + list(one.sending.kept)[len(one.sending.after) :] for one in going]
        return message


def in_jax(compressor, gradients, seed, shared=False):
    """The mean messages [k, d] of gradients [k, N, d], each worker by itself."""
    compressor, found = outside(compressor), []
    send = eqx.filter_jit(compressor.send)
    memories = [compressor.memory(jnp.asarray(own.numpy()), jnp.asarray(own.numpy())) for own in gradients[0]]
    for step, now in enumerate(gradients):
        messages = []
        for worker, own in enumerate(now):
            draw = drawer(own, seed, step, 0, None if shared else worker)
            uniform = jnp.asarray(draw(compressor.draws(len(own))).numpy())
            message, memories[worker] = send(uniform, jnp.asarray(own.numpy()), memories[worker], jnp.nan)
            messages.append(message)
        found.append(np.mean(messages, axis=0))
    return np.array(found)


def normal(seed, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(("dim", "dtype", "scale"), [(300, torch.float64, 1.0), (37, torch.float32, 1024.0)])
@pytest.mark.parametrize("name", MEMORIES)
def test_equal_to_jax(name, dim, dtype, scale, seed):
    gradients = normal(seed, 6, 3, dim, dtype=dtype)
    workers = Torch(MEMORIES[name], 3, seed, scale=scale, uniforms=True)
    found = np.array([workers.exchange(now.unbind()).numpy() for now in gradients])
    wanted = in_jax(MEMORIES[name], gradients, seed)
    tolerance = 1e-11 if dtype == torch.float64 else 2e-5
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
    assert found.dtype == gradients.numpy().dtype


def test_a_shared_mask_is_the_same_for_all(seed):
    gradients, chosen = normal(seed, 5, 3, 64), c.EF21(c.RandK(k=8, scaled=False))
    workers = Torch(chosen, 3, seed, shared=True, uniforms=True)
    found = np.array([workers.exchange(now.unbind()).numpy() for now in gradients])
    np.testing.assert_allclose(found, in_jax(chosen, gradients, seed, shared=True), rtol=1e-12, atol=1e-12)


def test_nothing_is_lost_by_error_feedback(seed):
    """What arrived and what is remembered add up to all gradients."""
    gradients = normal(seed, 9, 2, 50)
    workers = Torch(c.ErrorFeedback(c.TopK(k=2)), 2, seed)
    arrived = sum(workers.exchange(now.unbind()) for now in gradients)
    left = sum(kept[0]["error"] for kept in workers.kept) / 2
    torch.testing.assert_close(arrived + left, gradients.mean(1).sum(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", MEMORIES)
def test_memories_have_single_precision_or_better(name, dtype, seed):
    workers = Torch(MEMORIES[name], 2, seed)
    for now in normal(seed, 3, 2, 40).to(dtype):
        assert workers.exchange(now.unbind()).dtype == dtype
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    assert {t.dtype for kept in workers.kept for one in kept for t in one.values()} == {wanted}


def test_a_half_message_leaves_its_rounding_in_the_memory(seed):
    gradient = normal(seed, 40).bfloat16()
    workers = Torch(c.ErrorFeedback(c.RandK(fraction=0.5, scaled=False)), 1, seed)
    workers.exchange([gradient])
    before = workers.kept[0][0]["error"]
    message, ((one,)) = workers.message([gradient])
    torch.testing.assert_close(
        one.sending.after[0]["error"], before + gradient.float() - message.float(), rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("name", MEMORIES)
def test_old_memories_are_not_touched(name, seed):
    workers = Torch(MEMORIES[name], 2, seed)
    gradients = normal(seed, 3, 2, 40)
    for now in gradients[:2]:
        workers.exchange(now.unbind())
    before = [[{key: t.clone() for key, t in one.items()} for one in kept] for kept in workers.kept]
    workers.message((gradients[2] * float("nan")).unbind())
    for left, right in zip(before, workers.kept):
        assert all(torch.equal(one[key], two[key]) for one, two in zip(left, right) for key in one)


@pytest.mark.parametrize("name", MEMORIES)
def test_the_stated_error_is_that_of_what_was_compressed(name, seed):
    """The codec's own message, of what it was given; a sign's best multiple is the codec's affair."""
    workers, gradients = Torch(MEMORIES[name], 2, seed), normal(seed, 3, 2, 64)
    for now in gradients[:2]:
        workers.exchange(now.unbind())
    settings = workers.settings
    codec, chain = settings.coding_for(torch.nn.Parameter(gradients[2, 0]), begun=True)
    given = gradients[2, 0]
    for stage, kept in zip(chain, workers.kept[0]):
        given = stage.wanted(given, kept)
    plan = codec.plan(drawer(given, settings.seed, workers.step, 0, 0), len(given))
    payload, message = codec.encode(given, plan), torch.zeros_like(given)
    codec.add(message, payload, plan)
    wanted = codec.squared_error(given, payload, given.square().sum())
    wanted = (message - given).square().sum() if wanted is None else wanted
    (one, _) = workers.message(gradients[2].unbind())[1]
    assert float(one.lost) == pytest.approx(float(wanted), rel=1e-9, abs=1e-12)
    assert float(one.sending.square) == pytest.approx(float(given.square().sum()), rel=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_what_is_taken_is_what_is_added(name, seed):
    vector, codec = normal(seed, 300), Settings(ALL[name]).codec_for(torch.nn.Parameter(torch.zeros(300)))
    plan = codec.plan(drawer(vector, seed, 0, 0), 300)
    payload, total = codec.encode(vector, plan), torch.zeros(300, dtype=torch.float64)
    codec.add(total, payload, plan)
    codec.subtract(total, payload, plan)
    assert not total.any()


def test_every_memory_is_tried_here():
    def kinds(one):
        return {type(one)} | (kinds(one.inner) if hasattr(one, "inner") else set())

    tried = set().union(*map(kinds, MEMORIES.values()))
    assert not set(STAGES) - tried, f"a memory, but no row in MEMORIES of this file: {named(set(STAGES) - tried)}"


def test_raw_tensors_keep_momentum_and_no_error():
    settings = Settings(c.Momentum(c.EF21(c.TopK(k=1)), beta=0.9), min_numel=10)
    for size, names in ((4, ["MomentumStage"]), (40, ["MomentumStage", "EF21Stage"])):
        _, chain = settings.coding_for(torch.nn.Parameter(torch.zeros(size)), begun=True)
        assert [type(stage).__name__ for stage in chain] == names


def test_the_step_stands_outside_whatever_it_says():
    inside, outer = (HookState(c.ErrorFeedback(c.TopK(k=1), step=step)) for step in ("inside", "outside"))
    outer.load_state_dict(inside.state_dict())
    assert HookState(c.ErrorFeedback(c.Sign()), vote="majority").settings.compressor.sends_signs


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (HookState(c.ErrorFeedback(c.TopK(k=2))), r"compressor is ErrorFeedback.*k=2.*the saved run has .*k=1.*resume"),
        (HookState(c.ErrorFeedback(c.TopK(k=1)), mask="own"), "mask is own, but the saved run has shared"),
        (HookState(c.EF21(c.TopK(k=1))), "compressor is EF21"),
        (HookState(c.ErrorFeedback(c.TopK(k=1)), min_numel=4), "min_numel is 4, but the saved run has 0"),
        (HookState(c.ErrorFeedback(c.TopK(k=1)), seed=5), "seed is 5, but the saved run has 0"),
    ],
)
def test_a_checkpoint_of_another_method_is_refused(other, message):
    saved = HookState(c.ErrorFeedback(c.TopK(k=1))).state_dict()
    with pytest.raises(InvalidInput, match=message) as caught:
        other.load_state_dict(saved)
    assert "\n" not in str(caught.value)


def test_the_vote_is_part_of_the_checkpoint():
    saved = HookState(c.Sign()).state_dict()
    with pytest.raises(InvalidInput, match="vote is majority, but the saved run has mean"):
        HookState(c.Sign(), vote="majority").load_state_dict(saved)


def test_bad_input():
    with pytest.raises(InvalidInput, match='vote is "majority", but EF21 does not send signs'):
        HookState(c.EF21(c.Sign()), vote="majority")
    with pytest.raises(InvalidInput, match=r"min_numel is 3.*use min_numel=0 with Momentum"):
        HookState(c.Momentum(c.Sign(), beta=0.5), min_numel=3)
    batches = [torch.randn(4, 3) for _ in range(8)]
    with pytest.raises(InvalidInput, match="EF21 remembers, but a survey looks at single messages"):
        survey(
            torch.nn.Linear(3, 1), lambda model, x: model(x).square().mean(), batches, compressor=c.EF21(c.TopK(k=1))
        )
    state = HookState(c.ErrorFeedback(c.TopK(k=1)))
    fine = {**state.state_dict(), "sizes": [3], "memory": {0: {"0.error": torch.ones(3)}}, "workers": 1}
    state.load_state_dict(fine)
    assert torch.equal(state.state_dict()["memory"][0]["0.error"], torch.ones(3))
    assert state.state_dict()["workers"] == 1 and state.state_dict()["sizes"] == [3]
    for memory, words in (
        ({0: {"0.error": torch.ones(4)}}, r"memory \(0.error\) of parameter 0 has 4 entries, but the parameter has 3"),
        ({7: {"0.error": torch.ones(3)}}, "memory has a parameter 7, but there are only 1"),
    ):
        with pytest.raises(InvalidInput, match=words):
            state.load_state_dict({**fine, "memory": memory})
