"""How the cost of a simulation grows with coordinates, agents, runs and steps: `python -m benchmarks.growth` draws benchmarks/growth.png.

Each panel varies one of them; the dashed line is what the cost should be: proportional to it, or for agents the same for all.
"""

import argparse
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from benchmarks import ours, timing
from benchmarks.machine import load, machine
from benchmarks.workload import Workload
from stablestep.files import write_files
from stablestep.plot import CATEGORIES, panels
from stablestep.report import Figure

HERE = Path(__file__).parent
BASE = Workload(dim=1000, runs=64, steps=100, times=2)
KINDS = {"W1, DCSGD": "sparse", "W2, DSignSGD": "sign", "W3, SDE": "sde"}
TIMES = (1, 10, 100, 1000, 10_000)


@dataclass(frozen=True)
class Panel:
    """What varies, the workload without it, its values, and the kinds that depend on it."""

    name: str
    label: str
    base: Workload
    values: tuple[int, ...]
    kinds: tuple[str, ...] = tuple(KINDS)

    @property
    def proportional(self) -> bool:
        return self.name != "count"


PANELS = (
    Panel("dim", "d, coordinates", replace(BASE, runs=8, steps=50), tuple(100 * t for t in TIMES)),
    Panel(
        "count", "N, agents", BASE, (1, 4, 16, 64, 256, 1024, 4096, 10**4, 10**5, 10**6), ("W1, DCSGD", "W2, DSignSGD")
    ),
    Panel("runs", "runs", replace(BASE, dim=100), tuple(10 * t for t in TIMES)),
    Panel("steps", "steps", replace(BASE, dim=100), tuple(10 * t for t in TIMES)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3, help="timings of each point (default: 3)")
    parser.add_argument("--out", type=Path, default=HERE, metavar="DIR", help="where growth.png and growth.json go")
    options = parser.parse_args()
    busy = load()
    found = {panel.name: {kind: seconds(panel, kind, options.repetitions) for kind in panel.kinds} for panel in PANELS}
    record = {**machine(), "load": busy, "repetitions": options.repetitions, "seconds": found}
    text = (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()
    write_files({options.out / "growth.json": text, options.out / "growth.png": picture(found)})


def seconds(panel: Panel, kind: str, repetitions: int) -> dict[int, float]:
    """The median time of a call, for each value."""
    found = {}
    for value in panel.values:
        work = replace(panel.base, method=KINDS[kind], **{panel.name: value})
        run = partial(ours.simulate, work, 0)
        run()
        found[value] = float(np.median([timing.seconds(run) for _ in range(repetitions)]))
        print(f"{panel.label} = {value}, {kind}: {found[value]:.3g} s", flush=True)
    return found


def picture(found: dict[str, dict[str, dict[int, float]]]) -> bytes:
    """All panels as PNG."""
    figure, axes = panels(1, len(PANELS), width=3.6, height=3.2)
    for ax, panel in zip(axes, PANELS, strict=True):
        _draw(ax, panel, found[panel.name])
    axes[0].set_ylabel("seconds of one call")
    axes[0].legend(fontsize="small")
    return Figure("growth", figure, "").png


def _draw(ax: Axes, panel: Panel, found: dict[str, dict[int, float]]) -> None:
    for color, (kind, times) in zip(CATEGORIES, found.items(), strict=False):
        values, spent = np.array(list(times)), np.array(list(times.values()))
        ax.loglog(values, spent, "o-", color=color, label=kind, markersize=4)
        # Through the last point where cost is proportional: what a call costs by itself shows at the other end.
        ax.loglog(
            values,
            spent[-1] * values / values[-1] if panel.proportional else spent[0] + 0 * values,
            "--",
            color=color,
            alpha=0.6,
        )
    ax.set_xlabel(panel.label)
    ax.grid(alpha=0.3)


if __name__ == "__main__":
    main()
