"""One parameter changed by its name or by a path to it, also in what is nested; several unlike ones are never changed in silence."""

import numpy as np
import pytest

from stablestep.compressor import (
    EF21,
    ErrorFeedback,
    Identity,
    LocalClip,
    Momentum,
    RandomSparsification,
    ScaledSign,
    Sign,
    TopK,
)
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian
from stablestep.problem import EvenPower, Quadratic, Quartic
from stablestep.schedule import Constant, Normalized, Polynomial
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from stablestep.sweep import sweep
from stablestep.vary import vary, vary_all

UNLIKE = Setup(
    Quadratic([1.0, 3.0]),
    Agents(2, Gaussian(0.1), RandomSparsification(1.0)),
    Agents(1, Gaussian(0.1), RandomSparsification(4.0)),
)
NESTED = Setup(
    Quadratic([1.0, 3.0]),
    Agents(2, Gaussian(0.1), Momentum(EF21(RandomSparsification(1.0, scaled=False), warm=True), beta=0.7)),
    Agents(1, Gaussian(0.2), LocalClip(ErrorFeedback(TopK(k=1)), threshold=2.0)),
    server=HeavyBall(0.9),
)
TWICE = Setup(Quartic(3), Agents(1, None, Momentum(Momentum(Sign(), beta=0.5), beta=0.9)))


def omegas(setup):
    return [group.compressor.omega(2) for group in setup.groups]


def test_unlike_groups_are_not_overwritten():
    with pytest.raises(InvalidInput) as caught:
        vary(UNLIKE, "omega", 2.0)
    assert str(caught.value) == (
        '"omega" is several unlike parameters here (agents.1.omega = 1.0, agents.2.omega = 4.0); '
        'name one of them by its path, or all groups by "agents.all.omega".'
    ).replace("agents.1.omega", "agents.1.compressor.omega").replace("agents.2.omega", "agents.2.compressor.omega")
    with pytest.raises(InvalidInput, match="several unlike parameters"):
        simulate(UNLIKE, schedule=Constant(0.1), x0=1.0, steps=1, runs=2, grid={"omega": [1.0, 2.0]})


def test_one_group_or_all():
    assert omegas(vary(UNLIKE, "agents.2.omega", 2.0)) == [1.0, 2.0]
    assert omegas(vary(UNLIKE, "agents.1.compressor.omega", 2.0)) == [2.0, 4.0]
    assert omegas(vary(UNLIKE, "agents.all.omega", 2.0)) == [2.0, 2.0]
    assert omegas(vary(vary(UNLIKE, "agents.all.omega", 2.0), "omega", 3.0)) == [3.0, 3.0]
    assert [group.noise.sigma0 for group in vary(UNLIKE, "sigma0", 0.5).groups] == [0.5, 0.5]


def inner(setup, group=0):
    return setup.groups[group].compressor.inner


PATHS = [
    ("server.beta", 0.5, lambda s: s.server.beta, lambda s: s.groups[0].compressor.beta == 0.7),
    ("agents.1.beta", 0.5, lambda s: s.groups[0].compressor.beta, lambda s: s.server.beta == 0.9),
    ("agents.all.beta", 0.5, lambda s: s.groups[0].compressor.beta, lambda s: s.server.beta == 0.9),
    ("omega", 2.0, lambda s: inner(s).inner.sparsity, lambda s: inner(s).inner.scaled is False),
    ("agents.1.compressor.inner.warm", False, lambda s: inner(s).warm, lambda s: s.server.warm is False),
    ("agents.1.compressor.warm", True, lambda s: s.groups[0].compressor.warm, lambda s: inner(s).warm and not s.server.warm),
    ("agents.1.compressor.inner", Sign(), inner, lambda s: s.groups[0].compressor.beta == 0.7),
    ("threshold", 0.5, lambda s: s.groups[1].compressor.threshold, lambda s: inner(s, 1).step == "inside"),
    ("step", "outside", lambda s: inner(s, 1).step, lambda s: inner(s, 1).inner == TopK(k=1)),
    ("agents.2.inner", ErrorFeedback(ScaledSign()), lambda s: inner(s, 1), lambda s: isinstance(inner(s), EF21)),
    ("k", 2, lambda s: inner(s, 1).inner.k, lambda s: s.groups[1].compressor.threshold == 2.0),
    ("nesterov", True, lambda s: s.server.nesterov, lambda s: s.server.beta == 0.9),
    ("agents.2.sigma0", 0.3, lambda s: s.groups[1].noise.sigma0, lambda s: s.groups[0].noise.sigma0 == 0.1),
    ("agents.2.count", 7, lambda s: s.groups[1].count, lambda s: s.groups[0].count == 2),
    ("server", HeavyBall(0.1), lambda s: s.server, lambda s: s.groups[0].compressor.beta == 0.7),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "read", "kept"), PATHS[:-1])
def test_paths(path, value, read, kept):
    found = vary(NESTED, path, value)
    assert read(found) == value != read(NESTED) and kept(found) and kept(NESTED)


def test_one_name_at_two_depths_of_one_part():
    with pytest.raises(
        InvalidInput,
        match=r"agents\.1\.compressor\.beta = 0\.9, agents\.1\.compressor\.inner\.beta = 0\.5\); name one of them by its path\.",
    ):
        vary(TWICE, "beta", 0.1)
    outer, deep = (
        vary(TWICE, path, 0.1).groups[0].compressor
        for path in ("agents.1.compressor.beta", "agents.1.compressor.inner.beta")
    )
    assert (outer.beta, outer.inner.beta) == (0.1, 0.5) and (deep.beta, deep.inner.beta) == (0.9, 0.1)


BOTH = Setup(EvenPower(2, power=4), Agents(1))


def test_the_same_name_in_schedule_and_setup():
    with pytest.raises(
        InvalidInput, match=r'"power" is several unlike .*problem\.power = 4, schedule\.power = 0\.5\); name one'
    ):
        vary_all(BOTH, Polynomial(0.1, power=0.5), {"power": 6})
    setup, schedule = vary_all(BOTH, Polynomial(0.1, power=0.5), {"schedule.power": 1.0})
    assert schedule.power == 1.0 and setup.problem.power == 4
    setup, schedule = vary_all(BOTH, Polynomial(0.1, power=0.5), {"problem.power": 6})
    assert schedule.power == 0.5 and setup.problem.power == 6
    _, schedule = vary_all(BOTH, Normalized(Polynomial(0.1, power=0.5)), {"schedule.power": 1.0})
    assert schedule.schedule.power == 1.0


BAD = [
    ("agents.3.omega", r'nothing is called "agents\.3\.omega".*agents\.1'),
    ("agent.1.omega", r'nothing is called "agent\.1\.omega"\. Did you mean "agents\.1"'),
    ("agents.1.omgea", r'"agents\.1" has no parameter "omgea"\. Did you mean "omega"'),
    ("sever.beta", r'Did you mean "server"'),
    ("server.beat", r'"server" has no parameter "beat"\. Did you mean "beta"'),
    ("server.beta.beta", 'nothing is called "server.beta.beta"'),
    ("warm", r'agents\.1\.compressor\.warm = False, agents\.1\.compressor\.inner\.warm = True, server\.warm = False'),
    ("beta", r'agents\.1\.compressor\.beta = 0\.7, server\.beta = 0\.9\); name one of them by its path\.$'),
    ("server.beta", r"beta is 1\.5, but must be in"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "message"), BAD)
def test_bad_paths(path, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        vary(NESTED, path, 1.5)
    assert "\n" not in str(caught.value)


SPARSE = Setup(Quadratic([1.0, 3.0]), Agents(2, Gaussian(0.1), RandomSparsification(omega=3.0)))
TWICE_SAID = [
    ({"eta": [0.1], "schedule.eta": [0.2]}, '"eta" and "schedule.eta" are both schedule.eta; leave one of them out'),
    ({"omega": [1.0], "agents.1.omega": [2.0]}, '"omega" and "agents.1.omega" are both agents.1.compressor.omega'),
    ({"agents.all.omega": [1.0], "agents.1.omega": [2.0]}, "are both agents.1.compressor.omega"),
    (
        {"omega": [1.0], "compressor": [Identity()]},
        '"compressor" would replace what "omega" says; give "compressor" first',
    ),
]


@pytest.mark.parametrize(("grid", "words"), TWICE_SAID)
def test_two_names_for_one_parameter_are_refused(grid, words):
    options = {"schedule": Constant(0.05), "x0": 1.0, "steps": 2, "runs": 1}
    for compute in (
        lambda: simulate(SPARSE, grid=grid, **options),
        lambda: sweep(simulate, SPARSE, grid, store=None, **options),
        lambda: sweep(simulate, SPARSE, [{name: values[0] for name, values in grid.items()}], store=None, **options),
    ):
        with pytest.raises(InvalidInput) as caught:
            compute()
        assert words in str(caught.value)


def test_a_part_and_then_a_parameter_of_it():
    varied = {"compressor": RandomSparsification(omega=1.0), "omega": 2.0}
    assert vary_all(SPARSE, None, varied)[0].groups[0].compressor.omega(2) == 2.0


def test_a_grid_over_a_path_is_a_single_call():
    options = {"schedule": Constant(0.05), "x0": 1.0, "steps": 6, "runs": 4, "dtype": "float64"}
    found = simulate(NESTED, grid={"server.beta": [0.3, 0.6], "agents.1.omega": [0.5, 2.0]}, **options)
    assert found.loss_mean.dims[:2] == ("server.beta", "agents.1.omega")
    single = simulate(vary(vary(NESTED, "server.beta", 0.6), "agents.1.omega", 2.0), **options)
    np.testing.assert_allclose(
        found.loss_mean.sel({"server.beta": 0.6, "agents.1.omega": 2.0}), single.loss_mean, rtol=1e-12
    )
    other = found.loss_mean.sel({"server.beta": 0.3, "agents.1.omega": 2.0})
    assert not np.allclose(other[2:], single.loss_mean[2:], rtol=1e-3)
