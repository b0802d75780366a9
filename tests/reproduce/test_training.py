"""The recorded table of real trainings: whole, and summed up as it says."""

import json
from importlib.resources import files

from stablestep.reproduce.context import Context
from stablestep.reproduce.sections import training

ROW = {"task": "t", "omega": 0, "agents": 2, "steps": 10, "low": 0.9, "high": 1.1}


def test_the_record_is_whole():
    record = json.loads((files("stablestep.reproduce") / training.RECORD).read_text(encoding="utf-8"))
    found = {(row["task"], row["omega"], row["agents"]) for row in record["rows"]}
    assert len(found) == len(record["rows"]) == 12
    assert len({omega for _, omega, _ in found}) == 3 and len({agents for _, _, agents in found}) == 2
    assert all(row["low"] <= row["observed"] <= row["high"] for row in record["rows"])


def test_the_section_shows_it():
    section = training.run(Context())
    assert section.claims == [] and len(section.tables[0].rows) == 12
    assert "recorded on" in section.paragraphs[-1] and section.parameters["recorded"]


def test_the_summary():
    """Zero and infinity are wrong without bound; what is missing is counted."""
    values = [0.5, 1.1, 0.9, 0.8, 4.0]
    rows = [
        ROW | {"observed": 1.0, "predicted": {"a": value, "b": None, "c": other}}
        for value, other in zip(values, [0.0, "inf", 1.0, None, 1.0])
    ]
    assert training._summary({"rows": rows}).rows == [
        ["a", "1.2", "4", "2 of 5", 0],
        ["b", "nan", "nan", "0 of 0", 5],
        ["c", "inf", "inf", "1 of 4", 1],
    ]
    assert training._ratios({"rows": rows}).rows[1][-3:] == ["1.1", "none", "inf"]
