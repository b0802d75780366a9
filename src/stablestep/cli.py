"""The command `stablestep`. Heavy imports wait until a command needs them, so that help is quick."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stablestep.errors import InvalidInput, require

if TYPE_CHECKING:
    import xarray as xr
    from rich.table import Table

MOST_DEVICES = 8
ROWS = 12

app = typer.Typer(
    name="stablestep",
    help="Which step size holds when gradients are noisy, compressed and the landscape is rough?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def main() -> None:
    """Run the command line; what is wrong with the input is said in one sentence, with exit status 2."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"stablestep {version('stablestep')}")
        raise typer.Exit


@app.callback(
    epilog="Examples:\n\n"
    "  stablestep reproduce --quick\n\n"
    "  stablestep reproduce --only fig1.dcsgd --out report\n\n"
    "  stablestep simulate spec.toml --out out"
)
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog="Examples:\n\n"
    "  stablestep reproduce\n\n"
    "  stablestep reproduce --quick --out quick\n\n"
    "  stablestep reproduce --only fig1.dsgd --only message.sign-mean --seed 7"
)
def reproduce(
    quick: Annotated[bool, typer.Option("--quick", help="Small samples: a minute instead of five.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="ID", help="A section, a claim, or the beginning of claims' ids; may be repeated."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the report goes.")] = Path("reproduction"),
    seed: Annotated[int, typer.Option("--seed", help="Of every random number.")] = 0,
) -> None:
    """Reproduce the papers' figures and say, claim by claim, what holds: DIR/report.html."""
    with _plain_errors():
        _use_all_cores()
        from stablestep.reproduce import Interrupted
        from stablestep.reproduce import reproduce as run

        try:
            run(out, quick=quick, only=tuple(only or ()), seed=seed)
        except Interrupted as interrupted:
            _fail(str(interrupted), 130)


@app.command(
    epilog="Example:\n\n"
    "  stablestep simulate spec.toml --out out\n\n"
    "where spec.toml holds, for instance:\n\n"
    '  problem = { type = "Quartic", dim = 1000 }\n\n'
    '  agents = [{ count = 16, noise = { type = "Gaussian", sigma1 = 0.1 } }]\n\n'
    '  schedule = { type = "Constant", eta = 0.1 }\n\n'
    "  run = { x0 = 0.5, steps = 60, runs = 200 }"
)
def simulate(
    spec: Annotated[
        Path, typer.Argument(metavar="SPEC.toml", help="The problem, the agents, the schedule and the run.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the result goes.")] = Path("out"),
) -> None:
    """Simulate what a spec describes: DIR/result.nc, DIR/loss.png and DIR/loss.svg, and a table here."""
    with _plain_errors():
        _use_all_cores()
        from rich.console import Console
        from rich.progress import Progress

        from stablestep.simulate import simulate as run
        from stablestep.spec import load

        described = load(spec)
        with _writable(out):
            out.mkdir(parents=True, exist_ok=True)
            require(os.access(out, os.W_OK), f'cannot write to the folder "{out}": choose another with --out')
        with Progress(console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task("simulating", total=1.0)
            shown: dict[str, Any] = {"progress": lambda done: bars.update(task, completed=done)}
            result = run(described.setup, schedule=described.schedule, **described.run, **shown)
        console = Console()
        console.print(_table(result))
        console.print(_provenance(result), style="dim", highlight=False, markup=False)
        with _writable(out):
            names = _save(result, out)
        console.print(f"Written to {out}: {', '.join(names)}", soft_wrap=True, highlight=False, markup=False)


def _use_all_cores() -> None:
    """Let runs be spread over the processor's cores, which JAX counts as one device unless it is told otherwise."""
    import jax

    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    chosen = jax.config.jax_num_cpu_devices > 0  # pyright: ignore[reportAttributeAccessIssue]
    if chosen or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    try:
        jax.config.update("jax_num_cpu_devices", min(available, MOST_DEVICES))
    except RuntimeError:
        # JAX has computed something already, so its devices are settled.
        return


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except InvalidInput as error:
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("Interrupted: nothing was written.", 130)


def _fail(message: str, status: int) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(status)


@contextmanager
def _writable(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInput(f'cannot write to the folder "{out}" ({reason}): choose another with --out') from error


def _save(result: "xr.Dataset", out: Path) -> list[str]:
    """Write the result and its picture; the names of the files."""
    from stablestep import plot
    from stablestep.report import Figure, replace

    figure, ax = plot.panels()
    plot.loss(_flat(result), ax)
    picture = Figure("loss", figure, "")
    replace(out / "result.nc", lambda draft: result.to_netcdf(draft, engine="h5netcdf"))
    replace(out / "loss.png", picture.png)
    replace(out / "loss.svg", picture.svg)
    return ["result.nc", "loss.png", "loss.svg"]


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
    from stablestep.report import number

    return number(float(f"{float(value):.4g}"))


def _provenance(result: "xr.Dataset") -> str:
    return "\n".join(f"{name}: {value}" for name, value in result.attrs.items())


if __name__ == "__main__":
    sys.exit(main())
