"""Measure, fit and score: python -m benchmarks.edges [--only PATTERN ...] [--quick] [--processes P] [--measure-only]"""

import argparse
import json
import time
from pathlib import Path

from benchmarks.edges.measure import chosen, measure_all
from benchmarks.edges.scoreboard import BOARD, record, show
from benchmarks.edges.store import FOLDER, Store
from benchmarks.edges.tasks import TASKS
from benchmarks.edges.truth import Truth
from benchmarks.edges.write import measured, table


def main() -> None:
    options = _options()
    store, begun = Store(options.store), time.perf_counter()
    wanted = chosen(list(TASKS), options.only, options.quick)

    def report(done, of, cell, seconds):
        print(f"{done} of {of}  {cell.name}  {seconds:.1f} s  ({time.perf_counter() - begun:.0f} s in all)", flush=True)

    measure_all(wanted, store, options.processes, report)
    if options.measure_only:
        return
    truths = [Truth(record) for record in store.records()]
    table(truths)
    measured(truths)
    record(truths)
    show(json.loads(BOARD.read_text(encoding="utf-8")))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", metavar="PATTERN", nargs="+", default=[], help="cells whose name fits, such as 'tanh-*-100'"
    )
    parser.add_argument("--quick", action="store_true", help="a handful of cells")
    parser.add_argument("--processes", type=int, default=2, help="at once (default: 2)")
    parser.add_argument("--measure-only", action="store_true", help="leave the table and the scoreboard as they are")
    parser.add_argument("--store", type=Path, default=FOLDER, help=f"where cells are kept (default: {FOLDER})")
    return parser.parse_args()


if __name__ == "__main__":
    main()
