"""What travels to workers: functions with what they hold, once in each process, and nothing to unlike ones."""

import dataclasses

import cloudpickle
import jax
import jax.numpy as jnp
import pytest

from stablestep.problem import Function
from stablestep.setup import Setup
from stablestep.stability import critical_step, members
from stablestep.sweep.result import whole
from stablestep.sweep.run import Serial, finished
from stablestep.sweep.task import Unlike, Work, packed, run_packed, versions
from tests.sweep.work import SETUP, numbers


def work(function=numbers, **versions_):
    return Work(function, SETUP, {}, bool(jax.config.jax_enable_x64), versions() | versions_)  # pyright: ignore


def test_a_closure_travels():
    shift = 2.5
    content, _ = run_packed(packed(work(lambda setup: setup.count + shift)), cloudpickle.dumps({"count": 3}))
    assert whole(content).value.item() == 5.5


def test_a_worker_of_another_version_refuses():
    with pytest.raises(Unlike, match=r"a worker has jax .*, and this process jax 9; give them the same"):
        run_packed(packed(work(jax="9")), cloudpickle.dumps({"count": 3}))


def test_one_compilation_serves_all_points_of_a_structure():
    """Also of a user's function, which is unpacked once in each process: another object would be compiled anew."""
    curve = 0.5
    setup = Setup(Function(lambda x: curve * jnp.sum(x**2), dim=2), *SETUP.groups)
    options = {"x0": 1.0, "method": "rollouts", "members": 4, "steps": 10, "longest": 10}
    sent = packed(dataclasses.replace(work(critical_step), setup=setup, arguments=options))
    before, steps = len(members._ends.kernels), []
    for omega in (1.0, 2.0, 3.0):
        steps.append(whole(run_packed(sent, cloudpickle.dumps({"omega": omega}))[0]).step.item())
    assert len(members._ends.kernels) == before + 1 and len(set(steps)) == 3


def test_no_more_tasks_wait_than_are_meant_to():
    begun, most = [], 3

    class Held(Serial):
        def submit(self, fn, /, *args, **kwargs):
            begun.append(args)
            return super().submit(fn, *args, **kwargs)

    tasks = ((number, (number,)) for number in range(20))
    for done, (number, future) in enumerate(finished(Held(), abs, tasks, most)):
        assert len(begun) <= done + most and future.result() == number
    assert done == 19
