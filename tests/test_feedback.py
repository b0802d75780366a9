"""Compressors that remember: what one agent sends and keeps, message by message, and what they say of themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.compressor import (
    EF21,
    ErrorFeedback,
    Identity,
    LocalClip,
    Momentum,
    NaturalCompression,
    RandK,
    RandomSparsification,
    ScaledSign,
    Sign,
    TopK,
)
from stablestep.stream import Stream
from tests.statistics import assert_fails, assert_mean

GRADIENTS = np.random.default_rng(5).normal(size=(7, 4))
NONE = jnp.zeros(0)


def talk(compressor, gradients=GRADIENTS, steps=0.3, exact=None, seed=0):
    """The messages of one agent, and its memory before each of them and after the last."""
    first = jnp.asarray(gradients[0])
    memory = compressor.memory(first, first if exact is None else jnp.asarray(exact))
    sent, kept = [], [memory]
    for k, gradient in enumerate(gradients):
        uniform = Stream.seed(seed + k).mask.uniform(compressor.draws(len(gradient)), jnp.float64)
        message, memory = compressor.send(
            uniform, jnp.asarray(gradient), memory, jnp.asarray(np.ravel(steps)[k % np.size(steps)])
        )
        sent.append(np.asarray(message))
        kept.append(memory)
    return np.array(sent), kept


INNER = [
    TopK(k=1),
    ScaledSign(),
    Sign(),
    RandK(k=2, scaled=False),
    RandomSparsification(1.0, scaled=False),
    NaturalCompression(),
]


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("step", ["inside", "outside"])
def test_nothing_is_lost(inner, step):
    """What was sent and what is kept is what was given: Σ h_k m_k + e = Σ h_k g_k, or without the steps."""
    steps = np.array([0.3, 0.2, 0.5])
    sent, kept = talk(ErrorFeedback(inner, step), steps=steps)
    weight = steps[np.arange(7) % 3, None] if step == "inside" else 1.0
    np.testing.assert_allclose((weight * sent).sum(axis=0) + kept[-1][0], (weight * GRADIENTS).sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("inner", INNER)
def test_agent_and_server_of_ef21_agree(inner):
    """The server can rebuild G from what C sent: the message is G itself, and its change is a message of the inner compressor."""
    sent, kept = talk(EF21(inner))
    before = np.array([np.asarray(memory[0]) for memory in kept])
    np.testing.assert_array_equal(sent, before[1:])
    uniforms = [Stream.seed(k).mask.uniform(inner.draws(4), jnp.float64) for k in range(7)]
    changes = [inner.compress(u, jnp.asarray(g - b)) for u, g, b in zip(uniforms, GRADIENTS, before[:-1], strict=True)]
    np.testing.assert_allclose(np.diff(before, axis=0), changes, rtol=1e-12, atol=1e-15)


def test_starts():
    exact = np.array([1.0, 2.0, 3.0, 4.0])
    top = np.where(np.abs(GRADIENTS[0]) == np.abs(GRADIENTS[0]).max(), GRADIENTS[0], 0)
    cold, warm = (talk(EF21(TopK(k=1), warm=start), exact=exact)[0] for start in (False, True))
    np.testing.assert_array_equal(cold[0], top)
    np.testing.assert_array_equal(warm[0], exact)
    assert np.count_nonzero(warm[1] - exact) == 1
    own, own_warm = (talk(Momentum(Identity(), 0.75, warm=start), exact=exact)[0] for start in (False, True))
    np.testing.assert_allclose(own[0], GRADIENTS[0] / 4)
    np.testing.assert_allclose(own_warm[0], GRADIENTS[0])
    both = talk(Momentum(EF21(TopK(k=1), warm=True), 0.75, warm=True), exact=exact)[0]
    np.testing.assert_allclose(both[0], GRADIENTS[0])
    clipped = talk(LocalClip(EF21(TopK(k=1), warm=True), threshold=1.0), exact=exact)[0]
    np.testing.assert_allclose(clipped[0], exact / np.linalg.norm(exact))
    np.testing.assert_array_equal(ErrorFeedback(TopK(k=1)).memory(*[jnp.ones(4)] * 2)[0], np.zeros(4))


def test_a_step_of_zero_sends_nothing_and_changes_nothing():
    sent, kept = talk(ErrorFeedback(ScaledSign()), steps=np.array([0.3, 0.0]))
    assert not sent[1].any() and sent[2].any()
    np.testing.assert_array_equal(kept[2][0], kept[1][0])


@pytest.mark.parametrize("step", [jnp.nan, -0.3])
def test_steps_that_are_none(step):
    """NaN is not taken for 0; backwards is a step as any other."""
    sent, kept = talk(ErrorFeedback(TopK(k=1)), gradients=GRADIENTS[:1], steps=step)
    if np.isnan(step):
        assert np.isnan(sent[0]).any()
    else:
        np.testing.assert_allclose(step * sent[0] + kept[-1][0], step * GRADIENTS[0])


CONTRACTIONS = [
    (Identity(), 1.0), (TopK(k=2), 0.2), (TopK(fraction=0.3), 0.3), (ScaledSign(), 0.1), (RandK(k=3, scaled=False), 0.3),
    (RandK(k=4, block=2, scaled=False), 0.4), (RandomSparsification(3.0, scaled=False), 0.25), (NaturalCompression(), 7 / 8),
    (RandomSparsification(0.0, scaled=False), 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("compressor", "alpha"), CONTRACTIONS)
def test_contractions(compressor, alpha, seed):
    """E‖C(g) − g‖² ≤ (1 − α)‖g‖²: everywhere, and with equality at some g (for every g by an unscaled mask)."""
    assert compressor.contraction(10) == pytest.approx(alpha, rel=1e-14)
    generator = np.random.default_rng(seed)
    tight = {TopK: np.ones(10), ScaledSign: np.eye(10)[3] + 1e-13}.get(type(compressor))
    masks = isinstance(compressor, RandK | RandomSparsification)
    for g in [generator.normal(size=10), generator.normal(size=10) ** 3, *([] if tight is None else [tight])]:
        uniforms = jnp.asarray(generator.random((20_000, compressor.draws(10))))
        sent = np.asarray(jax.vmap(lambda u, g=g: compressor.compress(u, jnp.asarray(g)))(uniforms))
        error = np.sum((sent - g) ** 2, axis=1) / np.sum(g**2)
        assert error.mean() <= 1 - alpha + 5 * error.std() / np.sqrt(20_000) + 1e-12
        if masks or (tight is not None and g is tight):
            assert_mean(error, 1 - alpha)
            with assert_fails("1.1 α"):
                assert_mean(error, 1 - 1.1 * alpha)


def test_scaled_sign_error_is_exact():
    for g in GRADIENTS:
        error = np.sum((np.asarray(ScaledSign().compress(NONE, jnp.asarray(g))) - g) ** 2)
        expected = np.sum(g**2) - np.abs(g).sum() ** 2 / 4
        assert error == pytest.approx(expected, rel=1e-12)
        assert abs(error - (np.sum(g**2) - np.abs(g).sum() * np.linalg.norm(g) / 2)) > 1e-3  # scaled by ‖g‖₂/√d


WRAPPED = [ErrorFeedback, EF21, lambda inner: Momentum(inner, beta=0.9), lambda inner: LocalClip(inner, threshold=2.0)]


@pytest.mark.parametrize("inner", [*INNER, Identity()])
@pytest.mark.parametrize("wrap", WRAPPED)
def test_facts_come_from_inside(wrap, inner):
    outer = wrap(inner)
    assert outer.bits(100) == inner.bits(100) and outer.bits(100, shared=True) == inner.bits(100, shared=True)
    assert outer.draws(100) == inner.draws(100) and outer.deterministic == inner.deterministic
    assert not outer.unbiased and outer.remembers == (not isinstance(outer, LocalClip))
    assert outer.needs_step == isinstance(outer, ErrorFeedback)


@pytest.mark.parametrize(
    ("compressor", "signs", "is_sign", "bounded", "needs_step", "remembers"),
    [
        (Sign(), True, True, True, False, False),
        (ScaledSign(), False, False, False, False, False),
        (LocalClip(Sign(), 1.0), True, True, True, False, False),
        (LocalClip(Identity(), 1.0), False, False, True, False, False),
        (Momentum(Sign(), 0.9), True, False, True, False, True),
        (ErrorFeedback(Sign()), False, False, True, True, True),
        (ErrorFeedback(Sign(), step="outside"), True, False, True, False, True),
        (EF21(Sign()), False, False, False, False, True),
        (Momentum(ErrorFeedback(TopK(k=1)), 0.9), False, False, False, True, True),
        (LocalClip(ErrorFeedback(TopK(k=1), step="outside"), 1.0), False, False, False, False, True),
    ],
)
def test_kinds_of_messages(compressor, signs, is_sign, bounded, needs_step, remembers):
    found = compressor.sends_signs, compressor.is_sign, compressor.bounded, compressor.needs_step, compressor.remembers
    assert found == (signs, is_sign, bounded, needs_step, remembers)


def test_an_unbiased_compressor_inside_grows_where_omega_exceeds_one(seed):
    """E‖e⁺‖² = ω E‖p‖²: with ω = 3 the memory explodes, unscaled it does not."""
    gradients = np.tile(GRADIENTS[:1], (60, 1))
    wild, calm = (
        np.linalg.norm(talk(ErrorFeedback(RandomSparsification(3.0, scaled=scaled)), gradients, seed=seed)[1][-1][0])
        for scaled in (True, False)
    )
    assert wild > 1e6 * calm


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_local_clip(dtype):
    clip = LocalClip(Identity(), threshold=2.0)
    given = {"long": [3.0, 4.0], "short": [0.3, 0.4], "none": [0.0, 0.0]}
    found = {name: np.asarray(clip.compress(NONE, jnp.asarray(g, dtype))) for name, g in given.items()}
    np.testing.assert_allclose(found["long"], [1.2, 1.6], rtol=1e-6)
    np.testing.assert_array_equal(found["short"], np.asarray([0.3, 0.4], dtype))
    np.testing.assert_array_equal(found["none"], [0, 0])
    assert all(value.dtype == dtype for value in found.values())
