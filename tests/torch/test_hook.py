"""The hook in real processes: exact means, the stated randomness, bytes, norms, and what goes wrong."""

import math
import os
import warnings

import pytest
import torch
from torch import nn

import stablestep.torch as sst
from stablestep import compressor as c
from stablestep.errors import InvalidInput
from stablestep.torch.wire.randomness import drawer
from tests.torch.group import together
from tests.torch.models import Branches, Mixed, batch, expected, gradients, loss, of_all, perceptron, wrapped

SIZES = [240, 40, 800, 20, 20, 1]
SLOT = 16  # bytes of two float64 on the wire
CASES = [
    (c.RandomSparsification(3.0), "shared", "mean"),
    (c.RandomSparsification(3.0), "own", "mean"),
    (c.RandK(k=1), "shared", "mean"),
    (c.RandK(fraction=0.2), "own", "mean"),
    (c.RandK(fraction=0.3, block=16), "shared", "mean"),
    (c.RandK(fraction=0.3, block=16), "own", "mean"),
    (c.QSGD(4), "own", "mean"),
    (c.QSGD(4), "shared", "mean"),
    (c.TernGrad(), "own", "mean"),
    (c.NaturalCompression(), "own", "mean"),
    (c.Sign(), "own", "mean"),
    (c.Sign(), "shared", "majority"),
    (c.TopK(fraction=0.25), "own", "mean"),
    (c.RandomSparsification(3.0, scaled=False), "own", "mean"),
    (c.RandK(fraction=0.3, block=16, scaled=False), "shared", "mean"),
    (c.ScaledSign(), "own", "mean"),
]


def identity_is_plain_ddp(rank, workers, folder):
    for options in ({}, {"static_graph": True}, {"find_unused_parameters": True}, {"gradient_as_bucket_view": True}):
        state = sst.HookState(c.Identity(), group_bytes=1000)
        plain, hooked = wrapped(perceptron(), **options), wrapped(perceptron(), state, **options)
        for step in range(4):
            for model in (plain, hooked):
                model.zero_grad()
                loss(model, batch(rank, step)).backward()
            for left, right in zip(plain.parameters(), hooked.parameters()):
                assert left.grad is not None
                if workers == 2:
                    assert torch.equal(left.grad, right.grad)
                torch.testing.assert_close(left.grad, right.grad, rtol=1e-12, atol=1e-14)
            assert state.run.meter.collectives == 4


def messages_are_the_stated_ones(rank, workers, folder, cases=CASES, dtypes=(torch.float64, torch.float32)):
    for compressor, mask, vote in cases:
        for dtype in dtypes:
            state = sst.HookState(compressor, mask=mask, vote=vote, seed=5, group_bytes=3000)
            model = wrapped(perceptron(dtype), state)
            for step in range(2 + (dtype == torch.float64)):
                model.zero_grad()
                x = batch(rank, step, dtype)
                own = gradients(model.module, x)
                loss(model, x).backward()
                for parameter, gradient in zip(model.parameters(), own):
                    wanted = expected(state, parameter, gradient, step, vote)
                    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
                    torch.testing.assert_close(parameter.grad.flatten(), wanted, rtol=tolerance, atol=tolerance)


def four_messages_are_the_stated_ones(rank, workers, folder):
    chosen = [CASES[1], CASES[4], CASES[11]]
    messages_are_the_stated_ones(rank, workers, folder, chosen, (torch.float64,))


def bytes_are_counted(rank, workers, folder):
    """Payloads to the byte; what goes over the link follows from the collective."""
    blocks = sum(4 * min(dim, 16 * max(1, round(0.3 * math.ceil(dim / 16)))) for dim in SIZES)
    signs = sum(math.ceil(dim / 8) + math.ceil(math.ceil(dim / 256) / 8) for dim in SIZES)
    slots = 4 * SLOT * workers
    table = [
        (c.Identity(), "shared", 4 * sum(SIZES) + slots, 2 * (workers - 1) / workers),
        (c.Identity(), "own", 4 * sum(SIZES) + slots, 2 * (workers - 1) / workers),
        (c.RandK(k=1), "shared", 4 * len(SIZES) + slots, 2 * (workers - 1) / workers),
        (c.RandK(k=1), "own", 4 * len(SIZES) + SLOT, workers - 1),
        (c.RandK(fraction=0.3, block=16), "shared", blocks + slots, 2 * (workers - 1) / workers),
        (c.QSGD(4), "own", sum(4 + 4 * math.ceil(dim / 8) for dim in SIZES) + SLOT, workers - 1),
        (c.TernGrad(), "own", sum(4 + math.ceil(dim / 5) for dim in SIZES) + SLOT, workers - 1),
        (c.NaturalCompression(), "own", sum(9 * math.ceil(dim / 8) for dim in SIZES) + SLOT, workers - 1),
        (c.Sign(), "own", signs + SLOT, workers - 1),
        (c.ScaledSign(), "own", signs + 4 * len(SIZES) + SLOT, workers - 1),
        (c.TopK(k=1), "own", 8 * len(SIZES) + SLOT, workers - 1),
    ]
    for compressor, mask, payload, copies in table if workers == 2 else table[2:4]:
        state = sst.HookState(compressor, mask=mask)
        model = wrapped(perceptron(torch.float32), state)
        for step in range(2):
            loss(model, batch(rank, step, torch.float32)).backward()
            found = state.telemetry()
            if getattr(compressor, "block", None):  # the last block of a tensor may be shorter
                assert payload - 4 * 16 * len(SIZES) <= found["bytes_payload"] <= payload
            else:
                assert found["bytes_payload"] == payload, (compressor, found)
            assert found["bytes_sent"] == pytest.approx(found["bytes_payload"] * copies)


def norms_are_exact(rank, workers, folder):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        for compressor in (c.Identity(), c.RandK(k=1), c.Sign()):
            state = sst.HookState(compressor)
            model = wrapped(perceptron(dtype), state)
            for step in range(3):
                model.zero_grad()
                x = batch(rank, step, dtype)
                own = torch.cat(gradients(model.module, x)).double().norm().view(1)
                loss(model, x).backward()
                found = state.telemetry()
                assert found["local_norm"] == pytest.approx(float(own), rel=1e-12)
                assert found["mean_norm"] == pytest.approx(float(sum(of_all(own, workers)) / workers), rel=1e-12)
                assert state.run.meter.norms == [pytest.approx(float(each), rel=1e-12) for each in of_all(own, workers)]


def noted_losses_ride_along(rank, workers, folder):
    """To the byte, in sums and rows, once for each time that they were noted; one missing makes the mean NaN."""
    for compressor in (c.Identity(), c.QSGD(2)):
        state = sst.HookState(compressor)
        model = wrapped(perceptron(), state)
        for step, noted in enumerate((0.1 + rank, torch.tensor([1.0 / (3 + rank)]), torch.tensor(math.nan))):
            state.note(noted)
            loss(model, batch(rank, step)).backward()
            wanted = [(0.1, 1.1, 2.1), [float(torch.tensor(1 / (3 + each))) for each in range(3)], (math.inf,) * 3][
                step
            ]
            assert state.arrival().losses == list(wanted)[:workers]
            assert state.arrival().loss == sum(wanted[:workers]) / workers
        if rank:
            state.note(1.0)
        loss(model, batch(rank, 0)).backward()
        assert math.isnan(state.arrival().loss) and state.arrival().finite


def errors_are_measured(rank, workers, folder):
    unscaled = (c.RandK(fraction=0.2, scaled=False), c.RandomSparsification(3.0, scaled=False), c.ScaledSign())
    for compressor in (c.RandK(fraction=0.2), c.QSGD(2), c.Identity(), c.TopK(fraction=0.5), *unscaled):
        state = sst.HookState(compressor, mask="own")
        model = wrapped(perceptron(), state)
        x = batch(rank, 0)
        own = gradients(model.module, x)
        loss(model, x).backward()
        lost = 0.0
        for parameter, gradient in zip(model.parameters(), own):
            chosen = state.settings.codec_for(parameter)
            plan = chosen.plan(drawer(gradient, 0, 0, state.run.roster.number(parameter), rank), len(gradient))
            message = torch.zeros_like(gradient)
            chosen.add(message, chosen.encode(gradient, plan), plan)
            lost += float((message - gradient).square().sum())
        relative = lost / float(torch.cat(own).square().sum())
        assert state.telemetry()["compression_error"] == pytest.approx(relative, rel=1e-10, abs=1e-15)


def accumulation_sends_the_sum(rank, workers, folder):
    state = sst.HookState(c.RandK(k=1), mask="own")
    model = wrapped(perceptron(), state)
    for step in range(3):
        model.zero_grad()
        first, second = (gradients(model.module, batch(rank, 2 * step + part)) for part in range(2))
        with model.no_sync():
            loss(model, batch(rank, 2 * step)).backward()
        assert state.telemetry()["exchanges"] == step
        loss(model, batch(rank, 2 * step + 1)).backward()
        for parameter, one, two in zip(model.parameters(), first, second):
            torch.testing.assert_close(parameter.grad.flatten(), expected(state, parameter, one + two, step))


def unused_parameters_stay(rank, workers, folder):
    for compressor in (c.Sign(), c.RandK(k=1), c.QSGD(1)):
        state = sst.HookState(compressor)
        torch.manual_seed(0)
        model = wrapped(Branches().double(), state, find_unused_parameters=True)
        for step in range(2):
            loss(model, batch(rank, step)).backward()
            unused = model.module.unused.weight.grad
            assert unused is None or not unused.any()
            assert model.module.used.weight.grad.any()


def types_may_differ(rank, workers, folder):
    """Two groups, because a payload has one type; the norm is that of both."""
    for compressor, mask in ((c.RandK(k=1), "shared"), (c.QSGD(4), "own"), (c.Identity(), "shared")):
        state = sst.HookState(compressor, mask=mask)
        model = wrapped(Mixed(), state)
        for step in range(2):
            model.zero_grad()
            own = gradients(model.module, batch(rank, step))
            loss(model, batch(rank, step)).backward()
            norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in own))
            assert state.telemetry()["local_norm"] == pytest.approx(norm, rel=1e-12)
            for parameter, gradient in zip(model.parameters(), own):
                if len(gradient):
                    wanted = expected(state, parameter, gradient, step)
                    torch.testing.assert_close(parameter.grad.flatten(), wanted)


def complex_and_sparse_gradients_are_refused(rank, workers, folder):
    state = sst.HookState(c.Identity())
    model = wrapped(nn.Linear(6, 1, dtype=torch.complex64), state)
    with pytest.raises(InvalidInput, match="parameters are complex"):
        model(torch.ones(1, 6, dtype=torch.complex64)).abs().sum().backward()
    model = wrapped(nn.Embedding(4, 2, sparse=True), sst.HookState(c.Identity()))
    with pytest.raises(InvalidInput, match="gradients are sparse"):
        model(torch.tensor([1])).sum().backward()


def small_tensors_stay_raw(rank, workers, folder):
    for compressor, mask in ((c.RandK(k=30), "shared"), (c.RandK(k=30), "own"), (c.QSGD(2), "own")):
        state = sst.HookState(compressor, mask=mask, min_numel=41)
        model = wrapped(perceptron(), state)
        for step in range(2):
            model.zero_grad()
            own = gradients(model.module, batch(rank, step))
            loss(model, batch(rank, step)).backward()
            for parameter, gradient in zip(model.parameters(), own):
                mean = sum(of_all(gradient, workers)) / workers
                wanted = mean if len(gradient) < 41 else expected(state, parameter, gradient, step)
                torch.testing.assert_close(parameter.grad.flatten(), wanted)


def the_global_generator_is_untouched(rank, workers, folder):
    state = sst.HookState(c.RandomSparsification(3.0), mask="own")
    model = wrapped(perceptron(), state)
    before = torch.get_rng_state()
    loss(model, batch(rank, 0)).backward()
    assert torch.equal(before, torch.get_rng_state())


def bad_input_is_refused(rank, workers, folder):
    state = sst.HookState(c.RandK(k=100))
    with pytest.raises(InvalidInput, match="must be wrapped: DistributedDataParallel"):
        sst.register(perceptron(), state)
    with pytest.raises(InvalidInput, match=r"state is TopK\(.*, but must be a HookState"):
        sst.register(wrapped(perceptron()), c.TopK(k=1))
    with pytest.raises(InvalidInput, match=r"shape \(40,\).*only 40 to choose from.*min_numel"):
        sst.register(wrapped(perceptron()), state)
    model = wrapped(perceptron())
    sst.register(model, sst.HookState(c.RandK(k=1)))
    with pytest.raises(InvalidInput, match="has a communication hook already"):
        sst.register(model, sst.HookState(c.RandK(k=1)))
    late = wrapped(perceptron(), state)
    with pytest.raises(InvalidInput, match="only 1 to choose from"):
        loss(late, batch(rank, 0)).backward()
    fresh = sst.HookState(c.RandK(k=1))
    with pytest.raises(InvalidInput, match="no gradient has passed through the hook"):
        sst.verify(fresh)
    used = wrapped(perceptron(), fresh)
    loss(used, batch(rank, 0)).backward()
    sst.verify(fresh)
    with pytest.raises(InvalidInput, match="serves another model"):
        sst.register(wrapped(perceptron()), fresh)
    other = wrapped(nn.Linear(6, 1).double(), fresh)
    with pytest.raises(InvalidInput, match="a new HookState for each DDP model"):
        loss(other, batch(rank, 0)).backward()
    wrong = wrapped(perceptron())
    wrong.register_comm_hook(object(), sst.hook)
    with pytest.raises(InvalidInput, match="must be a HookState"):
        loss(wrong, batch(rank, 0)).backward()


def settings_that_differ_between_workers_are_refused(rank, workers, folder):
    """A mask of another seed leaves out other coordinates: sums of unlike ones would pass for gradients."""
    states = {
        "seed": sst.HookState(c.RandK(k=1), seed=rank),
        "mask": sst.HookState(c.RandK(k=1), mask=("shared", "own")[rank]),
        "compressor": sst.HookState((c.RandK(k=1), c.TopK(k=1))[rank]),
        "group_bytes": sst.HookState(c.RandK(k=1), group_bytes=1000 * rank),
        "exchanges": sst.HookState(c.RandK(k=1)),
    }
    if rank == 1:
        saved = states["exchanges"].state_dict()
        states["exchanges"].load_state_dict({**saved, "exchanges": 7})
    for name, state in states.items():
        with pytest.raises(InvalidInput, match=f"the workers differ: {name} is .* on worker 0, but .* on worker 1"):
            sst.register(wrapped(perceptron()), state)
    model = wrapped(perceptron())
    model.register_comm_hook(sst.HookState(c.RandK(k=1), seed=rank), sst.hook)  # which asks nobody
    with pytest.raises(InvalidInput, match="the workers differ: seed is 0 on worker 0, but 1 on worker 1"):
        loss(model, batch(rank, 0)).backward()


def a_resumed_state_must_fit(rank, workers, folder):
    state = sst.HookState(c.RandK(k=1))
    first = wrapped(perceptron(), state)
    loss(first, batch(rank, 0)).backward()
    resumed, late = sst.HookState(c.RandK(k=1)), sst.HookState(c.RandK(k=1))
    resumed.load_state_dict(state.state_dict())
    late.load_state_dict(state.state_dict())
    with pytest.raises(InvalidInput, match="belongs to other parameters"):
        sst.register(wrapped(nn.Linear(6, 1).double()), resumed)
    other = wrapped(nn.Linear(6, 1).double(), late)
    with pytest.raises(InvalidInput, match="belongs to other parameters"):
        loss(other, batch(rank, 0)).backward()


def test_two_workers():
    together(
        2,
        identity_is_plain_ddp,
        messages_are_the_stated_ones,
        bytes_are_counted,
        norms_are_exact,
        noted_losses_ride_along,
        errors_are_measured,
        accumulation_sends_the_sum,
        unused_parameters_stay,
        types_may_differ,
        small_tensors_stay_raw,
        complex_and_sparse_gradients_are_refused,
        the_global_generator_is_untouched,
        a_resumed_state_must_fit,
        settings_that_differ_between_workers_are_refused,
        bad_input_is_refused,
    )


def test_four_workers():
    together(4, four_messages_are_the_stated_ones, bytes_are_counted)


def alone_it_warns(rank, workers, folder):
    state = sst.HookState(c.Sign())
    with pytest.warns(UserWarning, match="one worker"):
        sst.register(model := wrapped(perceptron()), state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(model, batch(rank, 0)).backward()
    assert set(torch.cat([p.grad.flatten() for p in model.parameters()]).tolist()) == {-1.0, 1.0}


def test_one_worker():
    together(1, alone_it_warns)


def a_dying_worker_is_noticed(rank, workers, folder):
    state = sst.HookState(c.RandK(k=1))
    model = wrapped(perceptron(), state)
    for step in range(3):
        loss(model, batch(rank, step)).backward()
    torch.save(state.state_dict(), folder / f"{rank}.pt")
    if rank == 1:
        os._exit(9)
    with pytest.raises(RuntimeError, match="a worker is gone or the network is down"):
        loss(model, batch(rank, 3)).backward()
    assert torch.load(folder / "0.pt", weights_only=True)["exchanges"] == 3


def test_a_worker_dies():
    together(2, a_dying_worker_is_noticed, limit=45)
