"""Exact moments of groups under one mask: against all masks, one by one, and against simulated runs."""

from itertools import product

import numpy as np
import pytest

from stablestep.compressor import EF21, ErrorFeedback, Momentum, RandK, RandomSparsification
from stablestep.message import moments
from stablestep.noise import Gaussian
from stablestep.problem import Quadratic
from stablestep.schedule import Constant
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from stablestep.stability import critical_step
from tests.method.problems import Bowl
from tests.statistics import assert_fails, assert_mean

ETA, P = 0.15, 0.3
X0 = np.array([1.0, 0.5])
HESSIANS = (np.array([[1.0, 0.6], [0.6, 0.8]]), np.array([[0.5, -0.2], [-0.2, 1.5]]))
CENTRES = (np.array([1.0, -1.0]), np.array([-0.5, 2.0]))
COUNTS, SIGMAS = (1, 3), (0.7, 0.4)
MASK = RandomSparsification(1 / P - 1, scaled=False)


def clients(compressor, how="common", server=None, noisy=True):
    noises = [Gaussian(sigma if noisy else 0.0) for sigma in SIGMAS]
    parts = zip(COUNTS, noises, HESSIANS, CENTRES, strict=True)
    groups = [Agents(count, noise, compressor, Bowl(h, centre), how) for count, noise, h, centre in parts]
    return Setup(None, *groups, server=server)


def by_all_masks(eta, steps):
    """E zzᵀ of z = (x, e_1, e_2, 1) of error feedback, mask by mask; a group is one agent with the mean noise."""
    second = np.outer(start := np.concatenate([X0, np.zeros(4), [1.0]]), start)
    yield second
    for _ in range(steps):
        second = sum(chance * (step @ second @ step.T + spread) for chance, step, spread in _all(eta))
        yield second


def _all(eta):
    return [_of(eta, drawn) for drawn in product((0.0, 1.0), repeat=2)]


def _of(eta, drawn):
    """The chance of a mask, its map of z, and what the noise adds."""
    mask, one = np.diag(drawn), np.eye(2)
    step, spread = np.eye(7), np.zeros((7, 7))
    for group, (count, sigma, hessian, centre) in enumerate(zip(COUNTS, SIGMAS, HESSIANS, CENTRES, strict=True)):
        own = slice(2 + 2 * group, 4 + 2 * group)
        push = np.zeros((7, 2))  # of what the agent has to send, p = e + η g
        push[:2], push[own] = -count / sum(COUNTS) * mask, one - mask
        has = np.zeros((2, 7))
        has[:, :2], has[:, own], has[:, 6] = eta * hessian, one, -eta * hessian @ centre
        step[own] = 0
        step += push @ has
        spread += eta**2 * sigma**2 / count * push @ push.T
    return np.prod([P if kept else 1 - P for kept in drawn]), step, spread


@pytest.mark.parametrize("compressor", [ErrorFeedback(MASK)])
def test_every_step_by_all_masks(compressor):
    found = moments(clients(compressor), ETA, X0, 30, full=True)
    wanted = np.array(list(by_all_masks(ETA, 30)))
    np.testing.assert_allclose(found.second_moment, wanted[:, :2, :2], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found.x_mean, wanted[:, :2, 6], rtol=1e-11, atol=1e-13)
    settled = moments(clients(compressor), ETA, X0, 1500)
    assert settled.loss[-1].item() == pytest.approx(found.attrs["stationary_loss"], rel=1e-9)


def test_the_edge_by_all_masks():
    """ρ(E F_w ⊗ F_w) = 1, of the part that is linear in (x, e_1, e_2)."""
    found = critical_step(clients(ErrorFeedback(MASK)), x0=1.0, method="moments")

    def radius(eta):
        maps = [(chance, step[:6, :6]) for chance, step, _ in _all(eta)]
        return np.max(np.abs(np.linalg.eigvals(sum(chance * np.kron(step, step) for chance, step in maps))))

    assert radius(found.step) == pytest.approx(1.0, abs=1e-8) and found.step < found.details["first_moment"]
    assert radius(1.001 * found.step) > 1 > radius(0.999 * found.step)
    own = critical_step(clients(ErrorFeedback(MASK), "shared"), x0=1.0, method="moments")
    assert own.step > 1.05 * found.step


SPLIT = [MASK, RandK(1), ErrorFeedback(MASK), Momentum(EF21(RandK(1, scaled=False)), beta=0.4)]


@pytest.mark.parametrize("compressor", SPLIT, ids=lambda one: one.name)
@pytest.mark.parametrize("matrix", [HESSIANS[0], np.array([1.0, 3.0])], ids=["whole", "diagonal"])
def test_groups_of_one_landscape_are_one_group(compressor, matrix):
    """What a shared mask is to one group, a common one is to its parts; relative noise included."""
    noise, problem = Gaussian(0.7, 0.3), Quadratic(matrix)
    split = [Agents(count, noise, compressor, mask="common") for count in (1, 2)]
    whole = Agents(3, noise, compressor, mask="shared")
    one, other = (
        moments(Setup(problem, *groups, server=HeavyBall(0.5)), 0.1, X0, 20, thresholds=True)
        for groups in (split, [whole])
    )
    np.testing.assert_allclose(one.x_square, other.x_square, rtol=1e-11)
    for name in ("stationary_loss", "critical_step", "first_moment_step"):
        assert one.attrs[name] == pytest.approx(other.attrs[name], rel=1e-8)


def test_against_simulated_runs(seed):
    """Momentum outside EF21, a server that remembers."""
    compressor, server, times = Momentum(EF21(MASK), beta=0.3), HeavyBall(0.4), [1, 2, 3, 6, 20]
    runs = simulate(
        clients(compressor, server=server), schedule=Constant(0.1), x0=X0, steps=20, runs=30_000, seed=seed,
        observe=lambda x: x, record=times,
    ).observed.values[:, 1:]  # fmt: skip
    products = runs[..., :, None] * runs[..., None, :]

    def exact(how):
        return moments(clients(compressor, how, server), 0.1, X0, 20, full=True).isel(time=times)

    assert_mean(runs, exact("common").x_mean.values)
    assert_mean(products, exact("common").second_moment.values)
    for mutant in ("shared", "own"):
        with assert_fails(mutant):
            assert_mean(products, exact(mutant).second_moment.values)


def floor(compressor, how):
    found = moments(clients(compressor, how, noisy=False), 0.1, X0, 1)
    return found.attrs["stationary_loss"] - found.attrs["minimum"]


@pytest.mark.parametrize("compressor", [MASK, EF21(MASK)], ids=["masks", "EF21"])
def test_without_noise_nothing_is_left(compressor):
    """Unlike clients, and yet no floor: where the mean gradient vanishes one mask of all sends nothing. Own masks leave one."""
    assert floor(compressor, "common") == pytest.approx(0.0, abs=1e-10)
    assert floor(MASK, "own") > 2e-3
