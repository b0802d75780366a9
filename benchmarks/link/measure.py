"""What runs in the private namespaces: for each rate shape the links, start the workers, measure every hook, show and record."""

import sys
from collections.abc import Iterator

from rich.console import Console

from benchmarks.link import network, options, record, row
from benchmarks.link.launch.processes import Lost, Processes
from benchmarks.link.options import Options
from benchmarks.link.row import Row


def main(arguments: list[str]) -> int:
    chosen = options.parse(arguments)
    console, rows = Console() if sys.stdout.isatty() else Console(width=120), []
    status = run(chosen, console, rows)
    if rows:
        console.print(row.table(rows))
    if status == 0:
        record.write(chosen.json, arguments, chosen, rows)
    return status


def run(chosen: Options, console: Console, rows: list[Row]) -> int:
    """Fill `rows`, as far as it goes; the exit status."""
    try:
        network.build(chosen.workers)
        for found in measure(chosen):
            console.print(f"[dim]{found.rate}, {found.title}: {found.ms:.0f} ms[/dim]")
            rows.append(found)
    except (Lost, network.Refused) as error:
        print(f"The benchmark failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def measure(chosen: Options) -> Iterator[Row]:
    for rate in chosen.rates:
        network.shape(chosen.workers, rate)
        limit = chosen.limit(rate)
        with Processes(chosen.workers, limit) as workers:
            for name in chosen.hooks:
                task = {"hook": name, "parameters": chosen.parameters, "steps": chosen.repetitions}
                yield row.of(str(rate), name, workers.ask(task, limit))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
