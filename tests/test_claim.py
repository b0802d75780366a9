import json
import math

import numpy as np
import pytest

from stablestep.claim import Check, Claim
from stablestep.errors import InvalidInput

INF, NAN = math.inf, math.nan
HOLDS = Check(1.0, 0.0, 1.0, "=", label="holds")
FAILS = Check(2.0, 0.0, 1.0, "=", label="fails")
OPEN = Check(1.0, 10.0, 1.0, "=", label="open")


# Powers of two, so that every boundary is met exactly.
@pytest.mark.parametrize(
    ("measured", "stderr", "relation", "model_error", "outcome"),
    [
        (1.0, 0.0, "=", 0.0, "holds"),
        (1.0 + 3.5 / 64, 1 / 64, "=", 0.0, "holds"),
        (1.0 + 3.6 / 64, 1 / 64, "=", 0.0, "undecided"),
        (1.0 + 5.0 / 64, 1 / 64, "=", 0.0, "undecided"),
        (1.0 + 5.1 / 64, 1 / 64, "=", 0.0, "fails"),
        (1.0 - 5.1 / 64, 1 / 64, "=", 0.0, "fails"),
        (1.0 + 5.1 / 64, 1 / 64, "=", 2 / 64, "holds"),
        (1.0, 1 / 32, "=", 0.0, "undecided"),
        (1.0 - 3.5 / 8, 1 / 8, "<=", 0.0, "holds"),
        (1.0 - 3.4 / 8, 1 / 8, "<=", 0.0, "undecided"),
        (1.0 + 3.5 / 8, 1 / 8, "<=", 0.0, "undecided"),
        (1.0 + 3.6 / 8, 1 / 8, "<=", 0.0, "fails"),
        (1.0 + 3.6 / 8, 1 / 8, "<=", 8 / 8, "holds"),
        (1.0 + 3.5 / 8, 1 / 8, ">=", 0.0, "holds"),
        (1.0 - 3.5 / 8, 1 / 8, ">=", 0.0, "undecided"),
        (1.0 - 3.6 / 8, 1 / 8, ">=", 0.0, "fails"),
        (INF, NAN, "=", 0.0, "fails"),
        (INF, NAN, "<=", 0.0, "fails"),
        (INF, NAN, ">=", 0.0, "holds"),
        (-INF, 0.0, ">=", 0.0, "fails"),
        (NAN, 0.0, "=", 0.0, "undecided"),
        (NAN, 0.0, "<=", 0.0, "undecided"),
        (1.0, NAN, "=", 0.0, "undecided"),
        (1.0, INF, "=", 0.0, "undecided"),
        (1.0, INF, "<=", 0.0, "undecided"),
    ],
)
def test_outcome(measured, stderr, relation, model_error, outcome):
    check = Check(measured, stderr, 1.0, relation, model_error)
    assert check.outcome == outcome
    assert (check.slack >= 0) == (outcome == "holds")


def test_a_prediction_of_zero_takes_the_margin_as_absolute():
    assert Check(0.0, 0.02, 0.0, "=", margin=0.1).outcome == "holds"
    assert Check(0.0, 0.03, 0.0, "=", margin=0.1).outcome == "undecided"


def test_an_infinite_prediction():
    assert Check(INF, 0.0, INF, "=").outcome == "holds"
    assert Check(3.0, 0.1, INF, "=").outcome == "fails"
    assert Check(3.0, 0.1, INF, "<=").outcome == "holds"
    assert Check(INF, NAN, INF, "<=").outcome == "holds"


def test_arrays_of_one_number_become_floats():
    check = Check(np.float32(1.0), np.array(0.01), np.int64(1), "=")
    assert type(check.measured) is float and type(check.stderr) is float and check.outcome == "holds"


@pytest.mark.parametrize(
    "wrong",
    [
        {"relation": "<"},
        {"stderr": -1.0},
        {"model_error": -1.0},
        {"margin": -0.1},
        {"measured": "1"},
        {"predicted": None},
    ],
)
def test_invalid_checks(wrong):
    with pytest.raises(InvalidInput, match="|".join(wrong)):
        Check(**({"measured": 1.0, "stderr": 0.0, "predicted": 1.0, "relation": "="} | wrong))


@pytest.mark.parametrize(
    ("printed", "corrected", "verdict"),
    [
        ((HOLDS,), (), "holds"),
        ((HOLDS, HOLDS), (), "holds"),
        ((HOLDS, OPEN), (), "undecided"),
        ((HOLDS, FAILS), (), "misprint"),
        ((OPEN, FAILS), (HOLDS, HOLDS), "misprint"),
        ((FAILS,), (HOLDS, OPEN), "undecided"),
        ((FAILS,), (FAILS,), "undecided"),
        ((HOLDS,), (FAILS,), "holds"),
        ((OPEN,), (HOLDS,), "undecided"),
    ],
)
def test_verdict(printed, corrected, verdict):
    assert Claim("id", "P 1", "text", printed, corrected, error="misprint").verdict == verdict


def test_the_decisive_check():
    near, far = Check(1.03, 0.01, 1.0, "=", label="near"), Check(1.0, 0.01, 1.0, "=", label="far")
    assert Claim("id", "P", "text", (far, near)).decisive is near
    assert Claim("id", "P", "text", (near, OPEN, FAILS, HOLDS)).decisive is FAILS
    assert Claim("id", "P", "text", (near, OPEN, far)).decisive is OPEN
    claim = Claim("id", "P", "text", (HOLDS, FAILS))
    assert (claim.measured, claim.stderr, claim.predicted) == (2.0, 0.0, 1.0)


def test_invalid_claims():
    with pytest.raises(InvalidInput, match="no check"):
        Claim("id", "P", "text", ())
    with pytest.raises(InvalidInput, match="typo"):
        Claim("id", "P", "text", (HOLDS,), error="typo")  # pyright: ignore[reportArgumentType]


def test_json_is_strict():
    claim = Claim("id", "P 1", "text", (Check(INF, NAN, -INF, "<="),), (HOLDS,), detail="why")
    row = json.loads(json.dumps(claim.to_json(), allow_nan=False))
    assert (row["measured"], row["stderr"], row["predicted"]) == ("inf", None, "-inf")
    assert {"id", "where", "claim", "verdict", "detail", "checks"} <= row.keys()
    assert [check["form"] for check in row["checks"]] == ["printed", "corrected"]
    assert row["verdict"] == "false" and row["checks"][0]["outcome"] == "fails"
