"""Eight workers, one of them poisoned, slow or dead: what the others see, in time, and that the last checkpoint is good."""

import os
import random
import signal
import subprocess
import threading
import time

import pytest
import torch

from tests.torch.eight import Training, assert_same_everywhere, last, warned
from tests.torch.group import patience, together
from tests.torch.models import of_all

WORKERS, BAD = 8, 1
BEFORE = 6  # steps: the governor looks from the fourth on, and a round of local steps is over
AFTER = 14


def healthy(rank):
    return Training().train(rank, BEFORE)


# Those who stay in the group


def nan_makes_all_leave_out_the_step(rank, workers, folder):
    """And the round of local steps, from which all go back to where it began."""
    training = healthy(rank)
    hooked, met, memory = training.hooked, training.met, training.memory
    with warned() as found:
        training.train(rank, BEFORE + 1, float("nan") if rank == BAD else 1.0)
        assert torch.equal(training.hooked, hooked) and training.state.telemetry()["skipped"] == 1
        assert all(map(torch.equal, memory, training.memory))
        training.train(rank, BEFORE + 2)
    assert torch.equal(training.met, met) and training.local.telemetry()["skipped"] == 1
    words = [str(one.message) for one in found]
    assert sum("not finite" in one for one in words) == (2 if rank == 0 else 0), words
    training.train(rank, AFTER)
    assert training.state.telemetry()["skipped"] == training.local.telemetry()["skipped"] == 1
    assert_same_everywhere(training, workers)


def a_gradient_that_is_far_too_long_moves_nobody(rank, workers, folder):
    """The hook's memory included: else what the message left of it would be sent later. Local steps of Adam are as long as ever."""
    training = healthy(rank)
    hooked, memory, met = training.hooked, training.memory, training.met
    usual = float((met - training.train(rank, BEFORE + 2).met).norm())
    training = healthy(rank)
    training.train(rank, BEFORE + 1, 1e4 if rank == BAD else 1.0)
    norms = training.state.arrival().norms
    assert norms[BAD] > 100 * max(norm for worker, norm in enumerate(norms) if worker != BAD)
    assert torch.equal(training.hooked, hooked) and all(map(torch.equal, memory, training.memory))
    training.train(rank, BEFORE + 2)
    assert float((met - training.met).norm()) < 3 * usual
    training.train(rank, AFTER)
    assert training.state.telemetry()["skipped"] == training.local.telemetry()["skipped"] == 0
    assert_same_everywhere(training, workers)


def a_flipped_sign_is_outvoted(rank, workers, folder):
    """Nobody can see it: its norm is like any other. The mean message is shorter by a quarter, and the training goes on."""
    training = healthy(rank)
    begin = training.loss(training.model), training.loss(training.alone)
    training.train(rank, 4 * AFTER, -1.0 if rank == BAD else 1.0)
    assert training.state.telemetry()["skipped"] == training.local.telemetry()["skipped"] == 0
    assert training.loss(training.model) < begin[0] and training.loss(training.alone) < begin[1]
    assert_same_everywhere(training, workers)


def zeros_are_seen_and_cost_an_eighth(rank, workers, folder):
    training = healthy(rank)
    training.train(rank, BEFORE + 1, 0.0 if rank == BAD else 1.0)
    norms = training.state.arrival().norms
    assert norms[BAD] == 0 and min(norm for worker, norm in enumerate(norms) if worker != BAD) > 0
    training.train(rank, AFTER)
    assert training.state.telemetry()["skipped"] == training.local.telemetry()["skipped"] == 0
    assert_same_everywhere(training, workers)


STOP = 20  # seconds


def stop(seconds):
    """Stop this process, and have another one let it go on."""
    subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)


def a_stop_within_the_limit_is_waited_for(rank, workers, folder):
    """It changes no bit."""
    undisturbed = healthy(rank).train(rank, AFTER)
    training = healthy(rank)
    begin = time.monotonic()
    if rank == BAD:
        stop(STOP)
    training.train(rank, AFTER)
    assert time.monotonic() - begin >= STOP - 1
    assert all(map(torch.equal, training.ends, undisturbed.ends))
    assert_same_everywhere(training, workers)


def test_who_stays_in_the_group():
    together(
        WORKERS,
        nan_makes_all_leave_out_the_step,
        a_gradient_that_is_far_too_long_moves_nobody,
        a_flipped_sign_is_outvoted,
        zeros_are_seen_and_cost_an_eighth,
        a_stop_within_the_limit_is_waited_for,
        limit=240,
    )


# Those who leave it


TOLD = 4  # seconds, the group's limit of time when somebody goes away


def go_on(rank, folder, training):
    """Train for ever, and save."""
    while True:
        training.train(rank, training.done + 1)
        if training.done % 3 == 0:
            training.save(folder, rank)


def told(rank, folder, training):
    """Somebody is missing, which is said in one sentence; and what this worker has then is finite."""
    with pytest.raises(RuntimeError, match="failed because a worker is gone or the network is down") as caught:
        go_on(rank, folder, training)
    assert "restart all workers from the last checkpoint" in str(caught.value)
    assert all(value.isfinite().all() for value in training.ends)


def together_until(rank, folder):
    """A training with a checkpoint in the middle of a round, whose group loses patience early from here on."""
    training = healthy(rank).train(rank, BEFORE + 1)
    training.save(folder, rank)
    of_all(torch.zeros(1), WORKERS)
    patience(TOLD)
    return training


def one_is_killed(rank, workers, folder):
    """At a random moment, in a step or while it saves; its connections break at once."""
    training = together_until(rank, folder)
    if rank == BAD:
        wait = random.Random(int((folder / "seed").read_text())).uniform(0, 1)
        threading.Timer(wait, os.kill, (os.getpid(), signal.SIGKILL)).start()
    told(rank, folder, training)


def one_is_silent(rank, workers, folder):
    """As one that waits for its data: only the limit of time helps."""
    training = together_until(rank, folder)
    if rank == BAD:
        time.sleep(3 * TOLD)
        os._exit(0)
    told(rank, folder, training)


def one_stops_for_too_long(rank, workers, folder):
    """When it goes on, it is told as well."""
    training = together_until(rank, folder)
    if rank == BAD:
        stop(TOLD + 4)
    told(rank, folder, training)


def the_last_checkpoint_is_good(rank, workers, folder):
    """A new group resumes from it, and ends bit for bit as one that nothing happened to."""
    step = last(folder, workers)
    resumed = Training().load(folder, rank, step).train(rank, step + 5)
    undisturbed = Training().train(rank, step + 5)
    assert len(resumed.ends) == len(undisturbed.ends) and all(map(torch.equal, resumed.ends, undisturbed.ends))
    assert_same_everywhere(resumed, workers)


@pytest.mark.parametrize("fault", [one_is_killed, one_is_silent, one_stops_for_too_long])
def test_who_leaves_the_group(fault, tmp_path, seed):
    (tmp_path / "seed").write_text(str(seed))
    together(WORKERS, fault, folder=tmp_path, limit=120)
    together(WORKERS, the_last_checkpoint_is_good, folder=tmp_path, limit=120)
