"""What stands beside the code: one version everywhere, a pin for everything that development needs, changes in their files."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
FRAGMENTS = [path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md"]
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
)


def test_the_version_is_the_same_everywhere():
    released = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released[0] == PROJECT["project"]["version"] == CITATION["version"]


def test_a_change_has_a_name_a_kind_and_words():
    for path in FRAGMENTS:
        assert re.fullmatch(r"[a-z0-9-]+\.(added|changed|fixed|removed)\.md", path.name) and path.read_text().strip()


def test_whatever_development_needs_is_pinned():
    needed = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
    names = {re.match(r"[\w-]+", one).group() for one in needed}
    assert names <= PINS.keys() and "torch" not in PINS


def test_the_citation_says_whom_to_cite():
    newer, earlier = CITATION["references"]
    assert newer["year"] == 2026 and "ICML" in newer["conference"]["name"]
    assert [author["family-names"] for author in earlier["authors"]][-1] == "Gorbunov"
    assert all(reference["title"].startswith("On the Interaction of") for reference in CITATION["references"])
