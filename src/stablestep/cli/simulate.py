"""`stablestep simulate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stablestep.cli import screen
from stablestep.cli.app import command

if TYPE_CHECKING:
    import xarray as xr
    from rich.table import Table

ROWS = 12
FILES = ("result.nc", "loss.png", "loss.svg")


@command(
    "stablestep simulate spec.toml --out out",
    more="\n\nwhere spec.toml holds, for instance:\n\n"
    '  problem = { type = "Quartic", dim = 1000 }\n\n'
    '  agents = [{ count = 16, noise = { type = "Gaussian", sigma1 = 0.1 } }]\n\n'
    '  schedule = { type = "Constant", eta = 0.1 }\n\n'
    "  run = { x0 = 0.5, steps = 60, runs = 200 }",
)
def simulate(
    spec: Annotated[
        Path, typer.Argument(metavar="SPEC.toml", help="The problem, the agents, the schedule and the run.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the result goes.")] = Path("out"),
) -> None:
    """Simulate what a spec describes: DIR/result.nc, DIR/loss.png and DIR/loss.svg, and a table here."""
    from stablestep.files import make_folders, require_files, writable, write_files
    from stablestep.simulate import simulate as run
    from stablestep.spec import load

    described = load(spec)
    with writable(out):
        make_folders(out)
    require_files(*(out / name for name in FILES))
    result = run(described.setup, schedule=described.schedule, **described.run)
    files = _files(result)
    with writable(out):
        write_files({out / name: content for name, content in files.items()})
    console = screen.console()
    console.print(_table(result))
    console.print(_provenance(result), style="dim", highlight=False, markup=False)
    console.print(f"Written to {out}: {', '.join(files)}", soft_wrap=True, highlight=False, markup=False)


def _files(result: "xr.Dataset") -> dict[str, bytes]:
    """The result and its picture."""
    from stablestep import plot
    from stablestep.report import Figure, netcdf

    figure, ax = plot.panels()
    plot.loss(_flat(result), ax)
    picture = Figure("loss", figure, "")
    return dict(zip(FILES, (netcdf(result), picture.png, picture.svg)))


def _flat(result: "xr.Dataset") -> "xr.Dataset":
    """The result with several grid dimensions made one, as a picture has room for one."""
    grid = _grid(result)
    return result.stack({", ".join(grid): grid}) if len(grid) > 1 else result


def _grid(result: "xr.Dataset") -> list[str]:
    return [str(dim) for dim in result["diverged"].dims if dim != "time"]


def _table(result: "xr.Dataset") -> "Table":
    """The loss at about a dozen times; with a grid, at the last time for each of its points."""
    import numpy as np
    from rich.table import Table

    grid = _grid(result)
    table = Table(*(grid or ["t = kη", "iteration"]), "median f(x)", "5–95 %", "diverged", "bits sent", box=None)
    for column in table.columns:
        column.justify = "right"
    if grid:
        for point in np.ndindex(*(result.sizes[dim] for dim in grid)):
            row = result.isel(dict(zip(grid, point)) | {"time": -1})
            table.add_row(*(_number(row[dim]) for dim in grid), *_row(row))
        return table
    for index in np.unique(np.linspace(0, result.sizes["time"] - 1, ROWS).round().astype(int)):
        row = result.isel(time=index)
        table.add_row(_number(row["time"]), str(int(row["iteration"])), *_row(row))
    return table


def _row(moment: "xr.Dataset") -> tuple[str, ...]:
    from stablestep.plot import percent

    low, median, high = (_number(moment["loss_quantile"].sel(quantile=q, method="nearest")) for q in (0.05, 0.5, 0.95))
    return median, f"{low} – {high}", percent(float(moment["diverged"])), _number(moment["bits"])


def _number(value: Any) -> str:
    from stablestep.claim import number

    return number(float(f"{float(value):.4g}"))


def _provenance(result: "xr.Dataset") -> str:
    return "\n".join(f"{name}: {value}" for name, value in result.attrs.items())
