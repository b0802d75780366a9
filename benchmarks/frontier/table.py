"""The tables: on the screen, as Markdown and as CSV."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, fields

from rich.table import Table

from benchmarks.frontier.entrants import ENTRANTS
from benchmarks.frontier.score import Score

HEADINGS = ("entrant", "rate", "steps/T", "MB", "fewer bytes", "at its crossing", "final loss", "p", "")


def screen(title: str, scores: Sequence[Score]) -> Table:
    """One task."""
    shown = Table(title=title)
    for place, heading in enumerate(HEADINGS):
        shown.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for one in scores:
        shown.add_row(*cells(one))
    return shown


def cells(one: Score) -> list[str]:
    """In brackets: what a run that missed sent in all."""
    missed = one.verdict == "missed"
    steps = "–" if one.stretch is None else f"{one.stretch:.2f}"
    mega, fewer = f"{one.sent / 1e6:.3g}", f"{one.fewer:.3g}x"
    crossing = "–" if one.stretch_crossing is None else f"{one.fewer_crossing:.3g}x, {one.stretch_crossing:.2f}"
    if missed:
        mega, fewer = f"({mega})", f"({fewer})"
    rate = f"{one.rate:.2g}" + ("" if one.inside else "*")
    return [
        ENTRANTS[one.entrant].title,
        rate,
        steps,
        mega,
        fewer,
        crossing,
        gap(one),
        f"{one.p:.2g}",
        one.verdict,
    ]


def markdown(tasks: Sequence[str], scores: Sequence[Score]) -> str:
    """A line for each entrant: how many times fewer bytes, and steps/T, in each task; where it missed, by how much."""
    rows = [["entrant", *tasks], ["---"] + ["---:"] * len(tasks)]
    for name in dict.fromkeys(one.entrant for one in scores):
        own = {one.task: one for one in scores if one.entrant == name}
        rows.append([ENTRANTS[name].title, *(brief(own[task]) if task in own else "" for task in tasks)])
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def brief(one: Score) -> str:
    """A cell of the Markdown table; a target that only the mean met has a question mark."""
    if one.verdict == "missed":
        return f"missed: {gap(one)} ({one.fewer:.3g}x)"
    return f"{one.fewer:.3g}x, {one.stretch:.2f} T" + ("" if one.verdict == "met" else " ?")


def gap(one: Score) -> str:
    """The final loss above the reference's."""
    return f"{one.gap:+.1%}" if math.isfinite(one.gap) else "a seed diverged"


def as_csv(scores: Sequence[Score]) -> str:
    """All numbers."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Score)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(one) for one in scores)
    return text.getvalue()
