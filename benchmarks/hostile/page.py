"""docs/hostile.md, made by `make hostile`, never by hand."""

from pathlib import Path
from typing import Any

from benchmarks.hostile.faults import FAULTS
from benchmarks.hostile.trainings import CHOSE, SEEN
from stablestep.files import write_files

PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"
WORDS = """\
Small trainings (four workers, 16 samples each, 250 steps) with SGD and momentum, AdamW and Muon, uncompressed and with RandK 5 %
(own masks), at tuned rates. Then something goes wrong: the rate is 3, 10 or 30 times too large; ω becomes 99 in mid-run; the
first worker sends 10⁴ times its gradient, NaN, or its opposite for five steps; Student-t noise (ν = 1.5) all through; for five
steps inputs are 20 times too large and targets moved. A run is held against the tuned one with the same batches and masks, where
nothing is wrong: what counts is its share of that run's fall of the loss (mean of the last 25 steps). It has diverged if it ends
above its first loss, or nowhere.

“Nothing” makes finite steps only, as all designs do. Clipping is to 1, of the mean message; the rates are not tuned again for it.
LocalNorms has the η0 that gives the tuned step at the tuned run's mean norm. Prodigy replaces the optimizer."""


CROSSED = (
    "Runs that diverged, how many of a hundred are within 3 %, the median share; trainings that chose no constant."
)


def page(found: dict[str, Any], path: Path = PAGE) -> None:
    """Write it."""
    write_files({path: (markdown(found) + "\n").encode()})


def markdown(found: dict[str, Any]) -> str:
    """All of it."""
    parts = ["# Hostile runs", WORDS, "![shares of the tuned run's fall](hostile.png)", _origin(found)]
    for title, one in found["groups"].items():
        parts += [f"## {title}", _designs(one)]
    if found["goals"]:
        parts += ["## Goals, on trainings that chose no constant", _table(("goal", "measured", "held"), found["goals"])]
        parts += ["## The governor, by training", _designs(found["trainings"], "training")]
        parts += ["## The governor, by fault and optimizer", CROSSED, _crossed(found["cells"])]
    parts += [_probes(found), _real(found["real"]), _cost(found["cost"])]
    return "\n\n".join(part for part in parts if part)


def _origin(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in found["versions"].items())
    chose, seen = (" and ".join(names) for names in (CHOSE, SEEN))
    return (
        f"Recorded on {found['date']} by `{found['command']}`, {found['runs']} of {found['of']} runs ({versions}). "
        f"The governor's constants were chosen on {chose}, and it was revised after trainings like {seen} had been looked at. That "
        f"its probe is asked before the first step was chosen on these four; on the others no variant was tried, but what came of asking "
        f"later was known."
    )


def _designs(summaries: dict[str, Any], head: str = "design") -> str:
    header = (
        head,
        "diverged",
        "hot 3 / 10 / 30",
        "hot ≤ 10: within 3 % (5 %, 10 %)",
        "ω → 99",
        "×10⁴ / NaN / flipped / spike",
        "Student",
        "healthy: mean / worst loss of fall (> .5 %)",
    )
    return _table(header, [_design(name, one) for name, one in summaries.items()])


def _design(name: str, one: dict[str, Any]) -> tuple[str, ...]:
    share = {fault.name: f"{one['within'][fault.name]:.0f}" for fault in FAULTS}
    hot, well = one["hot"], one["healthy"]
    return (
        name,
        f"{one['diverged']} of {one['runs']}",
        " / ".join(share[f"hot {k}"] for k in (3, 10, 30)),
        f"{hot['3']:.0f} ({hot['5']:.0f}, {hot['10']:.0f})",
        share["ω → 99"],
        " / ".join(share[name] for name in ("worker × 10⁴", "worker NaN", "worker flipped", "data spike")),
        share["Student 1.5"],
        f"{well['mean']:+.2f} / {well['max']:+.2f} % ({well['above']} of {well['runs']})",
    )


def _crossed(cells: dict[str, dict[str, str]]) -> str:
    header = ("fault", *next(iter(cells.values())))
    return _table(header, [(fault, *line.values()) for fault, line in cells.items()])


def _probes(found: dict[str, Any]) -> str:
    rows = [
        (name, str(one["probes"]), f"{one['gradients']:.0f}", f"{one['hot']['3']:.0f}", f"{one['hot, probe paid']:.0f}")
        for name, one in found["held out"].items()
        if one["probes"]
    ]
    header = (
        "design",
        "runs that asked",
        "gradients of a worker",
        "hot ≤ 10 within 3 %",
        "if these count as steps of the 250",
    )
    words = "Before the first step the governor asks `sst.probe`, which looks 200 steps ahead."
    return f"## What the probe costs\n\n{words}\n\n{_table(header, rows)}" if rows else ""


def _real(real: dict[str, Any] | None) -> str:
    if not real:
        return ""
    return (
        f"## Real processes\n\n{real['runs']} runs of {real['training']} with four gloo workers, DDP and the hook: "
        f"{real['diverged']} diverged; their share of the fall differs from that of the same run in one process "
        f"by {real['typical']:.1e} in the median and {real['most']:.1e} at most."
    )


def _cost(cost: dict[str, Any] | None) -> str:
    if not cost:
        return ""
    rows = [(name, f"{value:.1f} ms") for name, value in cost["milliseconds"].items()]
    return f"## Time and memory\n\n{cost['words']}\n\n" + _table(("part of a step, one thread", "time"), rows)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
