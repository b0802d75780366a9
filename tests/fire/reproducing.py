"""A reproduction in a process of its own: `python -m tests.fire.reproducing OUT`."""

import sys

from stablestep.reproduce import Entry, reproduce

NAMES = ("one", "two", "three", "four", "five")
ENTRIES = [Entry(name, f"The {name}", f"tests.fire.sections.{name}", (f"{name}.claim",)) for name in NAMES]

if __name__ == "__main__":
    reproduce(sys.argv[1], seed=3, sections=ENTRIES, jobs=2)
