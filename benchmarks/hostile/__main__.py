"""Tune, run and score: `python -m benchmarks.hostile [--trainings …] [--seeds …]`; finished runs are kept in a store and not run again."""

from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.hostile import cost, figure, page, real, record
from benchmarks.hostile.cells import ALL_FAULTS, Cell, Runs
from benchmarks.hostile.designs import DESIGNS
from benchmarks.hostile.optimizers import OPTIMIZERS
from benchmarks.hostile.trainings import TRAININGS
from benchmarks.hostile.tune import tuned

OMEGAS = (0.0, 19.0)


def main(
    trainings: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    designs: Annotated[list[str] | None, typer.Option(help="Only these, and nothing.")] = None,
    seeds: int = 1,
    store: Path = Path("build/hostile.jsonl"),
    processes: Annotated[str, typer.Option(help="The training that real processes repeat; empty for none.")] = "bytes",
    write: Annotated[bool, typer.Option(help="Write docs/hostile.md, .json and .png, from what the store has.")] = True,
    fill: Annotated[
        bool, typer.Option(help="Run what the store lacks (tuning always); designs that lack a run are left out.")
    ] = True,
) -> None:
    """Run every design on every hostile run that the store lacks, and write the scores."""
    runs = Runs(store)
    rates = tuned(runs, list(product(trainings or TRAININGS, OPTIMIZERS, OMEGAS)))
    chosen = dict.fromkeys(["nothing", *(designs or DESIGNS)])
    cells = [
        Cell(*case, design, fault, seed, *rates[case])
        for design, case, fault, seed in product(chosen, rates, ALL_FAULTS, range(seeds))
    ]
    repeated = record.real_cells(cells, processes)
    if fill:
        runs.fill(cells, "hostile runs")
        real.fill(runs, repeated)
    open_ = {cell.design for cell in runs.missing(cells)}  # designs without all of their runs
    done = [cell for cell in cells if cell.design not in open_] + [cell for cell in repeated if runs.has(cell)]
    found = record.recorded(done, len(cells) + len(repeated), runs, cost.measured())
    Console().print(Markdown(page.markdown(found)))
    if write and found["shares"]:
        record.write(found)
        page.page(found)
        figure.draw(found["shares"])


if __name__ == "__main__":
    typer.run(main)
