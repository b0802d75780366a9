"""The recorded scoreboard: whole, and shown as it was written."""

import json
from importlib.resources import files

import pytest

from stablestep.reproduce.context import Context
from stablestep.reproduce.sections import training


@pytest.fixture(scope="module")
def record():
    return json.loads((files("stablestep.reproduce") / training.RECORD).read_text(encoding="utf-8"))


def test_the_record_is_whole(record):
    assert record["command"] == "make edges" and record["cells"] > 0 and set(record["versions"]) >= {"jax", "python"}
    assert {"all", "sgd", "momentum", "adam"} <= set(record["families"])
    for lines in record["families"].values():
        assert {"ramp, bracket 1.7", "ramp alone", "rollouts", "theorem", "Lightning", "coarse sweep"} <= set(lines)
        for line in lines.values():
            assert line["answers"] <= line["of"]
            if line["answers"]:
                assert line["profile"] == sorted(line["profile"]) and line["off"][0] <= line["off"][1]
                assert line["off"][0] == pytest.approx(line["profile"][20], rel=1e-3)


def test_what_the_runs_add_is_seen(record):
    """The probe is sharper than its ramp alone, and both than what looks at points."""
    lines = record["families"]["all"]
    probe, ramp, point = (lines[name]["off"][0] for name in ("ramp, bracket 1.7", "ramp alone", "2/λmax"))
    assert 1 <= probe < ramp < point


def test_the_section_shows_it(record):
    section = training.run(Context())
    assert len(section.figures) == 1 and len(section.tables) == len(record["families"])
    assert any(record["date"] in paragraph for paragraph in section.paragraphs)
    assert [row[0] for row in section.tables[0].rows] == list(record["families"]["all"])


def test_cells():
    line = {
        "answers": 3,
        "of": 4,
        "target": "best",
        "off": [2.0, 1e6],
        "off_after_constant": [1.5, 3.0],
        "covered": 0.9,
    }
    shown = training.cells(line | {"cost_in_horizons": [2.7, 4.0], "share_of_sweep": [0.1, 0.14], "regret": None})
    assert shown == ["best", "3 of 4", "2/> 1000", "1.5/3", "90%", "2.7", "0.1/0.14", "–"]
    assert training.cells({"answers": 0, "of": 4})[:2] == ["–", "0 of 4"]
