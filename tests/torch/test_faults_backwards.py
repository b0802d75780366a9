"""Several synchronised backwards before one step: only what is new is compressed, whatever the gradients hold of before."""

import pytest
import torch
from torch.optim import SGD

import stablestep.torch as sst
from stablestep import compressor as c
from tests.torch.group import together
from tests.torch.models import Branches, batch, expected, gradients, loss, perceptron, wrapped

HOOKS = [
    (c.Identity(), "shared"),
    (c.RandK(fraction=0.2), "shared"),
    (c.RandK(fraction=0.2), "own"),
    (c.QSGD(2), "own"),
    (c.Sign(), "own"),
    (c.TopK(k=1), "own"),
]
VIEWS = [{}, {"gradient_as_bucket_view": True}]


class Twice:
    """A hooked model whose backwards are compared with messages made of the new gradients alone."""

    def __init__(self, compressor, mask, **options):
        self.state = sst.HookState(compressor, mask=mask, group_bytes=3000)
        self.model = wrapped(perceptron(), self.state, **options)
        self.exchanges = 0

    def backward(self, *batches):
        """The messages that are right for a backward over these batches, all but the last one without synchronisation."""
        own = [sum(parts) for parts in zip(*(gradients(self.model.module, x) for x in batches))]
        with self.model.no_sync():
            for x in batches[:-1]:
                loss(self.model, x).backward()
        loss(self.model, batches[-1]).backward()
        self.exchanges += 1
        return [expected(self.state, p, g, self.exchanges - 1) for p, g in zip(self.model.parameters(), own)]

    def holds(self, *messages):
        for parameter, parts in zip(self.model.parameters(), zip(*messages)):
            torch.testing.assert_close(parameter.grad.flatten(), sum(parts), rtol=1e-12, atol=1e-12)


def only_the_new_part_is_sent(rank, workers, folder):
    for compressor, mask in HOOKS:
        for options in VIEWS:
            run = Twice(compressor, mask, **options)
            first = run.backward(batch(rank, 0))
            before = run.state.telemetry()
            second = run.backward(batch(rank, 1), batch(rank, 2))
            run.holds(first, second)
            both = run.state.telemetry()
            third = run.backward(batch(rank, 3))
            run.holds(first, second, third)
            run.model.zero_grad()
            run.holds(run.backward(batch(rank, 4)))
            last = run.state.telemetry()
            # A norm of the sum is at most the sum of the norms, and what was set to zero counts no more.
            assert before["mean_norm"] < both["mean_norm"] and last["mean_norm"] < both["mean_norm"]


def gradients_may_be_changed_between(rank, workers, folder):
    for options in VIEWS:
        for to_none in (True, False):
            run = Twice(c.Sign(), "own", **options)
            optimizer = SGD(run.model.parameters(), lr=0.0)
            first = run.backward(batch(rank, 0))
            with torch.no_grad():
                for parameter in run.model.parameters():
                    parameter.grad.mul_(0.25)  # as clipping does
            run.holds([message / 4 for message in first], run.backward(batch(rank, 1)))
            optimizer.zero_grad(set_to_none=to_none)
            run.holds(run.backward(batch(rank, 2), batch(rank, 3)))
            with run.model.no_sync():
                loss(run.model, batch(rank, 4)).backward()
            optimizer.zero_grad(set_to_none=to_none)  # forgets what was accumulated, and what was exchanged before
            run.holds(run.backward(batch(rank, 5)))


def a_loss_of_one_branch(rank, workers, folder):
    """A parameter that the second loss does not use keeps its message; so does one that is frozen meanwhile."""
    for compressor in (c.RandK(k=1), c.Sign(), c.QSGD(1)):
        state = sst.HookState(compressor)
        torch.manual_seed(0)
        model = wrapped(Branches().double(), state, find_unused_parameters=True)
        used, unused = model.module.used, model.module.unused
        loss(model, batch(rank, 0)).backward()
        kept = used.weight.grad.clone()
        model.module.used, model.module.unused = unused, used
        loss(model, batch(rank, 1)).backward()
        assert torch.equal(used.weight.grad, kept) and unused.weight.grad.any()
        norm = state.telemetry()["mean_norm"]
        for _ in range(3):
            unused.weight.grad = unused.bias.grad = None
            loss(model, batch(rank, 1)).backward()
        assert torch.equal(used.weight.grad, kept) and state.telemetry()["mean_norm"] == pytest.approx(norm)


def a_step_with_two_backwards(rank, workers, folder):
    run = Twice(c.Sign(), "own")
    optimizer = sst.StableStep(SGD(run.model.parameters(), lr=0.1), run.state, sst.rule.LocalNorms())
    before = torch.cat([p.detach().flatten() for p in run.model.parameters()])
    messages = [torch.cat(run.backward(batch(rank, 0)))]
    norm = run.state.telemetry()["mean_norm"]
    messages.append(torch.cat(run.backward(batch(rank, 1))))
    optimizer.step()
    total = run.state.telemetry()["mean_norm"]
    assert total > norm and run.state.telemetry()["step"] == pytest.approx(0.1 / (1 + total))
    after = torch.cat([p.detach().flatten() for p in run.model.parameters()])
    torch.testing.assert_close(after, before - 0.1 / (1 + total) * sum(messages))


def a_bad_first_backward_spoils_both(rank, workers, folder):
    run = Twice(c.Sign(), "own")
    optimizer = sst.StableStep(SGD(run.model.parameters(), lr=0.1), run.state, sst.rule.LocalNorms())
    before = [p.detach().clone() for p in run.model.parameters()]
    x = batch(rank, 0)
    x[0, 0] = float("inf") if rank == 1 else 0
    loss(run.model, x).backward()
    loss(run.model, batch(rank, 1)).backward()
    with pytest.warns(UserWarning, match="skipped so far") if rank == 0 else torch.no_grad():
        optimizer.step()
    assert all(map(torch.equal, before, run.model.parameters()))


def test_two_workers():
    together(
        2,
        only_the_new_part_is_sent,
        gradients_may_be_changed_between,
        a_loss_of_one_branch,
        a_step_with_two_backwards,
        a_bad_first_backward_spoils_both,
    )
