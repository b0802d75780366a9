"""Which result is chosen, and its limit as ε → 1."""

import math

import pytest

from stablestep.errors import InvalidInput
from stablestep.theorem import Constants, covering, normalized_bound, result, results, step_limit
from tests.theorem.reference import HET, SIGN

PLAIN = {"L0": 1, "L1": 2, "dim": 5, "sigma0_sq": 0.3, "count": 3}
CASES = [
    (PLAIN, {}, "B.2"),
    (PLAIN | {"sigma1_sq": 0.1}, {"form": "printed"}, "B.2"),
    (PLAIN | {"omega": 1.0}, {"young": True}, "4.2"),
    (HET, {"unit": 2.0}, "4.2"),
    (SIGN, {}, "4.3"),
    (SIGN, {"radius": 1.0}, "4.3"),
    (SIGN | {"nu": 0.5}, {"radius": 1.0}, "4.3"),
    (SIGN | {"sigma0_sq": 1.0}, {}, "4.3"),
]


@pytest.mark.parametrize(("values", "options", "name"), CASES)
def test_the_result_is_about_this_method_on_the_new_sde(values, options, name):
    c = Constants(**values)
    found = covering(c, **options)
    assert found.name == name and found.applies(c, **options)
    assert (found.method, found.sde) == (c.method, "new")


@pytest.mark.parametrize("values", [PLAIN, HET, PLAIN | {"omega": 2.0}, SIGN])
def test_no_other_result_on_the_new_sde_allows_a_larger_step(values):
    c = Constants(**values)
    others = [one for one in results() if one.applies(c) and one.sde == "new"]
    assert covering(c) in others
    for one in others:
        assert one.edge(c, 1.5) == pytest.approx(covering(c).edge(c, 1.5), rel=1e-14)


def test_the_edge_is_the_limit_as_epsilon_tends_to_one():
    c, signs = Constants(**HET), Constants(**SIGN)
    for options in ({}, {"young": True}, {"unit": 3.0}, {"form": "printed"}):
        near = step_limit("4.2", c, 2.0, 1 - 1e-12, **options)
        assert covering(c).edge(c, 2.0, **options) == pytest.approx(near, rel=1e-11)
    assert covering(signs).edge(signs, None) == covering(signs).edge(signs, 7.0) == step_limit("4.3", signs)
    flat = Constants(L0=0, L1=0, dim=1)
    assert covering(flat).edge(flat, 1.0) == math.inf


def test_constants_name_their_method():
    assert [Constants(**values).method for values in (PLAIN, HET, SIGN)] == ["DSGD", "DCSGD", "DSignSGD"]
    assert Constants(**PLAIN | {"omega": [0, 0, 1.0]}).method == "DCSGD"


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (SIGN | {"nu": 0.5}, {}, "4.3 .*needs nu ≥ 1"),
        (HET, {"radius": 1.0}, "4.2 has no radius version"),
        (
            HET,
            {"form": "printed", "young": True},
            'unit and young change the corrected form of 4.2, but form is "printed"',
        ),
        (HET, {"yung": True}, 'no option "yung"'),
    ],
)
def test_what_nothing_covers_is_said(values, options, message):
    with pytest.raises(InvalidInput, match=message):
        covering(Constants(**values), **options)


# One of them is what a result is about, whatever else it assumes.
COVERED = [{"L0": 1, "L1": 2, "dim": 3}, {"L0": 1, "L1": 0, "dim": 3, "sigma0_sq": 0.3}, SIGN]


@pytest.mark.parametrize("name", [one.name for one in results()])
@pytest.mark.parametrize("memory", ["ErrorFeedback", "HeavyBall"])
def test_no_result_answers_for_a_memory_that_it_does_not_know(name, memory):
    """A forgotten hypothesis would be a limit for another method."""
    values = next((case for case in COVERED if result(name).applies(Constants(**case))), None)
    assert values is not None, f"{name} applies to no case in COVERED of this file: add one that it is about"
    times = {"eta": 0.01, "phi1": 1.0, "phi2": 1.0}
    c = Constants(**values, initial_gap=1.0, memory=memory)
    assert not result(name).applies(c)
    for use in (
        lambda: result(name).step_limit(c, 1.0, 0.5),
        lambda: result(name).edge(c, 1.0),
        lambda: result(name).normalization(c, 0.5),
        lambda: result(name).bound(c, **times, epsilon=0.5),
        lambda: result(name).density(c, eta_t=1.0, **times),
        lambda: covering(c),
        lambda: normalized_bound(c, steps=3),
    ):
        with pytest.raises(InvalidInput, match=f'but {memory} remembers; leave .* method="rollouts"') as caught:
            use()
        assert "\n" not in str(caught.value)


def test_the_first_hypothesis_is_that_of_memory():
    for one in results():
        assert one.hypotheses(Constants(**PLAIN))[0].statement == "no memory"
