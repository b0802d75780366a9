"""`stablestep explore`."""

from pathlib import Path
from typing import Annotated

import typer

from stablestep.cli import screen
from stablestep.cli.app import command


@command("stablestep explore", "stablestep explore spec.toml --out explore.html")
def explore(
    spec: Annotated[
        Path | None, typer.Argument(metavar="[SPEC.toml]", help="Start at the constants of this setup.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("explore.html"),
    measure: Annotated[bool, typer.Option("--map/--no-map", help="Measure where runs fail, and show it.")] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Also where the map takes longer than a minute.")] = False,
) -> None:
    """Write a page, one file without network, in which sliders change the constants and every result's step limit follows."""
    from stablestep.explore import explore as of_setup
    from stablestep.explore import page
    from stablestep.files import require_files, writable, write_files
    from stablestep.spec import load

    require_files(out)
    if spec is None:
        text = page()
    else:
        described = load(spec, to_run=False)
        text = of_setup(described.setup, described.run["x0"], described.run.get("seed", 0), measure, yes)
    with writable(out.parent):
        write_files({out: text.encode()})
    screen.console(highlight=False, markup=False).print(f"{out} ({len(text.encode()) / 1e6:.2f} MB)")
