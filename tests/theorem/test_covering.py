"""Which result is chosen, and its limit as ε → 1."""

import math

import pytest

from stablestep.errors import InvalidInput
from stablestep.theorem import Constants, bound, covering, density, normalized_bound, result, results, step_limit
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


KNOWN = {"HeavyBall": {"beta": 0.5}, "ErrorFeedback": {"alpha": 0.5}, "EF21": {"alpha": 0.5}, "Adam": {}}
SILENT = {"L0": 1, "L1": 0, "dim": 3, "initial_gap": 1.0}


def usable(one):
    """Constants for which a result holds, but for the memory."""
    values = SILENT | ({"nu": 1.0, "scale_max": 1.0} if one.signs else {}) | ({"clip": 1.0} if one.clips else {})
    return values | ({"normalized": True} if one.normalized else {})


@pytest.mark.parametrize("name", [one.name for one in results()])
@pytest.mark.parametrize("memory", KNOWN)
def test_no_result_answers_for_a_memory_that_it_does_not_know(name, memory):
    """A forgotten hypothesis would be a limit for another method."""
    one = result(name)
    c = Constants(**usable(one), memory=memory, **KNOWN[memory])
    uses = [
        lambda: one.step_limit(c, 1.0, 0.5),
        lambda: one.edge(c, 1.0),
        lambda: one.normalization(c, 0.5),
        lambda: bound(name, c, epsilon=0.5, **times_of(one), **started(one)),
        lambda: density(name, c, eta_t=1.0, **times_of(one), **({"epsilon": 0.5} if one.sde == "discrete" else {})),
    ]
    if memory in one.memories:
        assert one.applies(c) and all(use() is not None for use in uses)
        return
    assert not one.applies(c)
    for use in uses:
        with pytest.raises(InvalidInput, match=f"{memory}( remembers)?; (give|leave) .*") as caught:
            use()
        assert "\n" not in str(caught.value)


def times_of(one):
    return {"eta": 0.01} | ({"steps": 10} if one.sde == "discrete" else {"phi1": 1.0, "phi2": 1.0})


def started(one):
    return {"initial_error": 0.0} if one.sde == "discrete" else {}


def test_the_corollary_knows_no_memory():
    with pytest.raises(InvalidInput, match="but HeavyBall remembers"):
        normalized_bound(Constants(**SILENT, beta=0.5), steps=3)


@pytest.mark.parametrize("name", [one.name for one in results() if one.memories])
def test_a_memory_has_its_constant(name):
    one = result(name)
    with pytest.raises(InvalidInput, match=f"but memory is None; give {one.needs}"):
        one.step_limit(Constants(**usable(one)), 1.0, 0.5)
    with pytest.raises(InvalidInput, match=f"but {one.needs} is missing; give {one.needs}"):
        one.step_limit(Constants(**usable(one), memory=one.memories[0]), 1.0, 0.5)


CHOSEN = [
    ({"beta": 0.5}, "discrete.momentum"),
    ({"beta": 0.5, "L1": 1}, "momentum"),
    ({"beta": 0.5, "memory": "warm HeavyBall"}, "momentum"),
    ({"beta": 0.5, "nu": 1, "scale_max": 1}, "discrete.sign-average"),
    ({"alpha": 0.5}, "ef"),
    ({"alpha": 0.5, "memory": "ErrorFeedback"}, "ef"),
    ({"normalized": True}, "discrete.normalized"),
    ({"normalized": True, "beta": 0.5, "L1": 1}, "discrete.normalized-momentum"),
    ({"normalized": True, "alpha": 0.5, "L1": 1, "memory": "EF21"}, "discrete.normalized-ef21"),
    ({"clip": 1.0, "L1": 1}, "discrete.clip"),
    ({"dissimilarity": (2.0, 1.0)}, "4.2"),
    ({"dissimilarity": (2.0, 1.0), "omega": 1.0}, "4.2"),
]


@pytest.mark.parametrize(("values", "name"), CHOSEN, ids=str)
def test_what_is_chosen_for_memory_and_other_steps(values, name):
    c = Constants(**(SILENT | values))
    assert covering(c).name == name and covering(c).applies(c)
    if covering(c).sde != "discrete" and c.memory is not None:
        assert "SDE" in covering(c).reference


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"memory": "Adam"}, "Adam"),
        (
            {"memory": "EF21", "alpha": 0.5},
            "no result covers EF21 with plain steps; discrete.normalized-ef21 is the nearest",
        ),
        ({"memory": "ErrorFeedback", "alpha": 0.5, "L1": 1}, "ef needs a bounded Hessian, but L1 is 1; use a pair"),
        (
            {"memory": "ErrorFeedback", "alpha": 0.5, "normalized": True},
            "ef is about EF with plain steps, but these are normalized",
        ),
        ({"beta": 0.5, "alpha": 0.5}, "HeavyBall and error feedback"),
        ({"nu": 1, "scale_max": 1, "dissimilarity": (2.0, 1.0)}, "vote for a median"),
        ({"clip": 1.0, "dissimilarity": (2.0, 1.0)}, "balance at another point than the minimum"),
        ({"clip": 1.0, "normalized": True}, "normalized"),
    ],
)
def test_what_nothing_covers_is_refused(values, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        covering(Constants(**(SILENT | values)))
    assert "\n" not in str(caught.value)


def test_the_first_hypothesis_is_that_of_memory():
    for one in results():
        assert one.hypotheses(Constants(**PLAIN))[0].statement.startswith("no memory")
