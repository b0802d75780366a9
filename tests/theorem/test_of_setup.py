"""What a setup remembers, read off it, and constants by hand for a setup."""

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
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Quadratic, Quartic
from stablestep.server import HeavyBall, Majority, Plain
from stablestep.setup import Agents, Setup
from stablestep.theorem import Constants, constants, covered, covering, described

MASK = RandomSparsification(3.0, scaled=False)
MEMORIES = [
    ([Agents(2)], HeavyBall(0.9), {"memory": "HeavyBall", "beta": 0.9, "speed": 10.0}),
    ([Agents(2)], HeavyBall(0.9, average=True), {"memory": "HeavyBall", "beta": 0.9, "speed": 1.0}),
    ([Agents(2)], HeavyBall(0.9, warm=True), {"memory": "warm HeavyBall", "beta": 0.9}),
    ([Agents(2)], HeavyBall(0.9, nesterov=True), {"memory": "Nesterov", "beta": 0.9}),
    ([Agents(2, StudentT(1.0), Sign())], Majority(), {"memory": "Majority", "beta": None}),
    (
        [Agents(2, None, ErrorFeedback(TopK(k=1)))],
        Plain(),
        {"memory": "ErrorFeedback", "alpha": 0.25, "alpha_surely": True},
    ),
    (
        [Agents(2, None, ErrorFeedback(MASK))],
        Plain(),
        {"memory": "ErrorFeedback", "alpha": 0.25, "alpha_surely": False},
    ),
    (
        [Agents(2, None, EF21(TopK(k=2))), Agents(1, None, EF21(ScaledSign()))],
        Plain(),
        {"memory": "EF21", "alpha": 0.25},
    ),
    (
        [Agents(2, None, ErrorFeedback(TopK(k=1)))],
        HeavyBall(0.5),
        {"memory": "HeavyBall and ErrorFeedback", "beta": 0.5},
    ),
    ([Agents(2, None, Momentum(EF21(TopK(k=1)), beta=0.5))], Plain(), {"memory": "Momentum of EF21", "alpha": None}),
    ([Agents(2, StudentT(1.0), Momentum(Sign(), beta=0.5))], Plain(), {"memory": "Momentum", "nu": 1.0}),
    (
        [Agents(2), Agents(1, None, EF21(TopK(k=1)))],
        Plain(),
        {"memory": "nothing in other groups and EF21", "alpha": None},
    ),
    (
        [Agents(2, None, LocalClip(ErrorFeedback(TopK(k=1)), threshold=2.0))],
        Plain(),
        {"memory": "LocalClip of ErrorFeedback", "clip": 2.0},
    ),
    ([Agents(2, None, LocalClip(Identity(), threshold=2.0))], Plain(), {"memory": None, "clip": 2.0}),
]


@pytest.mark.parametrize(("agents", "server", "expected"), MEMORIES)
def test_memories(agents, server, expected):
    c = constants(Setup(Quartic(4), *agents, server=server), L1=2.0)
    found = {name: getattr(c, name) for name in expected}
    assert found == pytest.approx(expected) and (c.L0, c.L1) == (1.0, 2.0)


def test_a_memory_that_no_theorem_knows_is_refused_by_name():
    for agents, server, _ in MEMORIES:
        c = constants(Setup(Quadratic([1.0] * 4), *agents, server=server), L1=0.0)
        if c.memory in (None, "HeavyBall", "warm HeavyBall", "ErrorFeedback"):
            assert covering(c).applies(c)
        else:
            with pytest.raises(InvalidInput) as caught:
                covering(c)
            assert c.memory in str(caught.value) and "\n" not in str(caught.value)


def test_normalized_steps_ask_for_the_law_of_the_noise():
    setup = Setup(Quartic(4), Agents(2, Gaussian(0.5)))
    assert constants(setup, L1=1.0).nu is None
    c = constants(setup, L1=1.0, normalized=True)
    assert c.normalized and c.nu == np.inf and c.scale_max.tolist() == [0.5, 0.5]
    relative = constants(Setup(Quartic(4), Agents(2, Gaussian(0.5, 0.1))), L1=1.0, normalized=True)
    assert relative.nu is None
    with pytest.raises(InvalidInput, match="normalized is 1, but must be True or False"):
        constants(setup, L1=1.0, normalized=1)


def test_constants_by_hand_take_the_memory_of_the_setup():
    setup = Setup(Quadratic([1.0, 2.0]), Agents(3, Gaussian(0.1), ErrorFeedback(TopK(k=1))))
    own = described(Constants(L0=5, L1=0, dim=2, count=3, sigma0_sq=0.3, omega=2.0), setup)
    assert (own.L0, own.memory, own.alpha, own.sigma0_sq[0], own.omega[0]) == (5.0, "ErrorFeedback", 0.5, 0.3, 0.0)
    assert covered(setup, 1.0, constants=Constants(L0=5, L1=0, dim=2, count=3)).step == pytest.approx(
        covered(setup, 1.0).step * 2 / 5
    )
    moved = described(
        Constants(L0=5, L1=0, dim=2, count=3), Setup(Quadratic([1.0, 2.0]), Agents(3), server=HeavyBall(0.75))
    )
    assert (moved.beta, moved.speed) == (0.75, 4.0)
    for c, message in (
        (Constants(L0=5, L1=0, dim=2), "count = 1, but the setup has 3"),
        (Constants(L0=5, L1=0, dim=3, count=3), "dim = 3, but the setup has 2"),
        (
            Constants(L0=5, L1=0, dim=2, count=3, alpha=0.1, memory="ErrorFeedback"),
            "alpha = 0.1, but the setup has 0.5",
        ),
        (Constants(L0=5, L1=0, dim=2, count=3, beta=0.1), "memory = HeavyBall, but the setup has ErrorFeedback"),
    ):
        with pytest.raises(InvalidInput, match=message):
            described(c, setup)
    with pytest.raises(InvalidInput, match="memory = HeavyBall, but the setup has None"):
        described(Constants(L0=5, L1=0, dim=2, count=3, beta=0.1), Setup(Quadratic([1.0, 2.0]), Agents(3)))


def test_steps_of_a_setup_are_its_own():
    """η = (1 − β) η_e, unless the server averages."""
    for average, factor in ((False, 0.25), (True, 1.0)):
        found = covered(Setup(Quadratic([2.0]), Agents(1), server=HeavyBall(0.75, average=average)), 1.0)
        assert found.step == pytest.approx(factor * found.result.edge(found.constants, 1.0))
    assert covered(Setup(Quartic(2), Agents(1)), 1.0, L1=2.0).step == pytest.approx(2 / 3)
