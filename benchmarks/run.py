"""Measures the targets for simulation (W1, W2) and for SDEs (W3), prints them as a table and writes benchmarks/results.json."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import (
    baselines_diffrax,
    baselines_jax,
    baselines_numpy,
    baselines_torch,
    baselines_torchsde,
    ours,
    timing,
)
from benchmarks.machine import load, machine
from benchmarks.timing import Side
from benchmarks.workload import Paths, Workload, summary
from stablestep import native
from stablestep.files import write_files

RESULTS = Path(__file__).with_name("results.json")
W1 = Workload()
W2 = replace(W1, method="sign")
W3 = replace(W1, method="sde")
# What the naive programs can do in a few seconds; times are compared for each coordinate-step.
W1_AGENTS = replace(W1, count=256, runs=32, steps=3, times=2)
W2_NAIVE = replace(W2, steps=2, times=2)


@dataclass(frozen=True)
class Row:
    """One line of the table: a ratio (or seconds), the numbers it comes from, and its target, if it has one."""

    what: str
    measured: float
    relation: str
    target: float | None
    unit: str
    spread: tuple[float, float]
    ours_ns: float | None = None
    other_ns: float | None = None

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.measured >= self.target if self.relation == "≥" else self.measured <= self.target


def main() -> None:
    options = _options()
    console = Console() if sys.stdout.isatty() else Console(width=120)
    rows, busy = [], load()  # of the minute before
    with timing.other_process() as pool:
        for row in measure(options.repetitions, pool):
            console.print(f"[dim]{row.what}: {row.measured:.3g}{row.unit}[/dim]")
            rows.append(row)
    console.print(table(rows))
    rows_found = [{**asdict(row), "met": row.met} for row in rows]
    found = {**machine(), "load": busy, "repetitions": options.repetitions, "rows": rows_found}
    write_files({RESULTS: (json.dumps(found, indent=2, ensure_ascii=False) + "\n").encode()})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5, help="timings of each side (default: 5)")
    return parser.parse_args()


def measure(repetitions: int, pool: ProcessPoolExecutor) -> Iterator[Row]:
    many = replace(W1, count=256)
    t_noise = "W2, N = 1, ν = 2.5: jax.random.t"
    yield faster("W1, N = 1: NumPy, float64", 18, side(pool, baselines_numpy.simulate, W1), mine(W1), repetitions)
    yield faster("W1, N = 1: PyTorch", 6.5, side(pool, baselines_torch.simulate, W1), mine(W1), repetitions)
    yield faster("W1, N = 1: naive JAX", 4.8, side(pool, baselines_jax.simulate, W1), mine(W1), repetitions)
    yield faster("W1, N = 256: naive JAX", 500, side(pool, baselines_jax.simulate, W1_AGENTS), mine(many), repetitions)
    yield faster(t_noise, 150, side(pool, baselines_jax.simulate, W2_NAIVE), mine(W2), repetitions)
    yield faster("W3: diffrax", 2.6, side(pool, baselines_diffrax.simulate, W3), mine(W3), repetitions)
    yield faster("W3: torchsde", None, side(pool, baselines_torchsde.simulate, W3), mine(W3), repetitions)
    yield faster("W3: NumPy, float64", None, side(pool, baselines_numpy.simulate, W3), mine(W3), repetitions)
    yield slower("W1: cost at N = 256 over N = 1", 1.5, mine(many), mine(W1), repetitions)
    yield slower("W1: user-written f over built-in", 1.1, mine(W1, written=True), mine(W1), repetitions)
    for name, work in (("W1, N = 1", W1), ("W1, N = 256", many), ("W2, N = 1", W2), ("W3", W3)):
        yield compiled(f"{name}: compile time", 2.0, work, repetitions)
    os.environ.pop(native.VARIABLE, None)
    if native.build():
        yield from measure_native(repetitions, pool)


def measure_native(repetitions: int, pool: ProcessPoolExecutor) -> Iterator[Row]:
    """The same with stablestep-native, where it is installed; and what it gives over XLA."""
    numpy, torch = side(pool, baselines_numpy.simulate, W1), side(pool, baselines_torch.simulate, W1)
    naive, diffrax = side(pool, baselines_jax.simulate, W1), side(pool, baselines_diffrax.simulate, W3)
    one, many = mine(W1, build="1"), mine(replace(W1, count=256), build="1")
    yield faster("native, W1, N = 1: NumPy, float64", 35, numpy, one, repetitions)
    yield faster("native, W1, N = 1: PyTorch", 12, torch, one, repetitions)
    yield faster("native, W1, N = 1: naive JAX", 9, naive, one, repetitions)
    yield faster("native, W3: diffrax", 4.5, diffrax, mine(W3, build="1"), repetitions)
    yield slower("native, W1: cost at N = 256 over N = 1", 2.5, many, one, repetitions)
    signs = replace(W2, count=16)
    for name, work in (("W1, N = 1", W1), ("W1, N = 256", replace(W1, count=256)), ("W2, N = 16", signs), ("W3", W3)):
        yield faster(f"native, {name}: by XLA", None, mine(work), mine(work, build="1"), repetitions)


def side(pool: ProcessPoolExecutor, simulate: Callable[[Workload, int], Paths], work: Workload) -> Side:
    return Side(partial(_baseline, simulate, work), work.coordinate_steps, pool)


def _baseline(simulate: Callable[[Workload, int], Paths], work: Workload) -> None:
    summary(simulate(work, 0), work.iterations)


def mine(work: Workload, written: bool = False, build: str = "0") -> Side:
    """StableStep by XLA alone ("0"), or with stablestep-native ("1")."""
    return Side(partial(_mine, work, written, build), work.coordinate_steps)


def _mine(work: Workload, written: bool, build: str) -> None:
    os.environ[native.VARIABLE] = build
    ours.simulate(work, 0, written)


def faster(what: str, target: float | None, other: Side, own: Side, repetitions: int) -> Row:
    return _ratio(what, "≥", target, other, own, repetitions)


def slower(what: str, target: float, own: Side, reference: Side, repetitions: int) -> Row:
    return _ratio(what, "≤", target, own, reference, 2 * repetitions)


def _ratio(what, relation, target, above: Side, below: Side, repetitions) -> Row:
    found = timing.paired([above, below], repetitions)
    ratios = found[0] / found[1]
    above_ns, below_ns = map(float, np.median(found, axis=1))
    own, other = (below_ns, above_ns) if relation == "≥" else (above_ns, below_ns)
    return Row(what, float(np.median(ratios)), relation, target, "x", _spread(ratios), own, other)


def compiled(what: str, target: float, work: Workload, repetitions: int) -> Row:
    short = replace(work, steps=20)
    found = timing.compile_seconds(partial(ours.simulate, short, 0), repetitions)
    return Row(what, float(np.median(found)), "≤", target, " s", _spread(found))


def _spread(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def table(rows: list[Row]) -> Table:
    shown = Table(title="StableStep against what everyone would write (ns of wall time for each coordinate-step)")
    for heading in ("workload and other side", "ours", "other", "measured", "range", "target", ""):
        shown.add_column(heading, justify="left" if heading.startswith("workload") else "right", no_wrap=True)
    for row in rows:
        numbers = [_ns(row.ours_ns), _ns(row.other_ns), f"{row.measured:.3g}{row.unit}"]
        spread = f"{row.spread[0]:.3g}–{row.spread[1]:.3g}"
        shown.add_row(row.what, *numbers, spread, *_verdict(row))
    return shown


def _verdict(row: Row) -> tuple[str, str]:
    if row.target is None:
        return "", ""
    verdict = "[green]met[/green]" if row.met else "[red]not met[/red]"
    return f"{row.relation} {row.target:g}{row.unit}", verdict


def _ns(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    main()
