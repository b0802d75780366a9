"""`stablestep reproduce`."""

from pathlib import Path
from typing import Annotated

import typer

from stablestep.cli.app import command, fail


@command(
    "stablestep reproduce --quick",
    "stablestep reproduce --only fig1.dcsgd --out report",
    "stablestep reproduce --only fig1.dsgd --only message.sign-mean --seed 7",
)
def reproduce(
    quick: Annotated[
        bool, typer.Option("--quick", help="Small samples, and only what decides claims: a minute instead of ten.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="ID", help="A section, a claim, or the beginning of claims' ids; may be repeated."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the report goes.")] = Path("reproduction"),
    seed: Annotated[int, typer.Option("--seed", help="Of every random number.")] = 0,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--fresh",
            help="Keep the sections in DIR that a run of the same source, versions and seed has finished.",
        ),
    ] = True,
) -> None:
    """Reproduce the papers' figures and say, claim by claim, what holds: DIR/report.html."""
    from stablestep.reproduce import Interrupted
    from stablestep.reproduce import reproduce as run

    try:
        run(out, quick=quick, only=tuple(only or ()), seed=seed, resume=resume)
    except Interrupted as interrupted:
        fail(str(interrupted), 130)
