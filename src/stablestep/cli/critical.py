"""`stablestep critical`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from stablestep.cli.app import app, plain_errors, use_all_cores
from stablestep.cli.limits import step


@app.command(
    epilog="Examples:\n\n  stablestep critical spec.toml\n\n  stablestep critical spec.toml --method simulation --json"
)
def critical(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.toml", help="The problem, the agents, and x0 in [run].")],
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="rollouts, theorem, coordinate-wise, loss-model, one-step, one-step-log, moments, lyapunov or simulation.",
        ),
    ] = "rollouts",
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of every random number; by default that of [run].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The largest constant step that is safe from x0, measured (or computed) by the chosen method."""
    with plain_errors():
        use_all_cores()
        from rich.console import Console

        from stablestep.spec import load
        from stablestep.stability import critical_step

        described = load(spec, to_run=False)
        chosen = described.run.get("seed", 0) if seed is None else seed
        found = critical_step(described.setup, x0=described.run["x0"], method=method, seed=chosen)
        if as_json:
            record = {name: _plain(value) for name, value in vars(found).items()}
            typer.echo(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False))
            return
        console = Console(highlight=False, markup=False)
        interval = "" if found.low == found.high else f", interval {step(found.low)} – {step(found.high)}"
        console.print(f"critical step {step(found.step)}{interval} ({found.status})")
        console.print(f"{found.method}: {found.definition}", soft_wrap=True)
        for name, value in found.details.items():
            if not isinstance(value, dict):
                console.print(f"{name}: {step(value) if isinstance(value, float) else value}")
        console.print(f"cost: {found.cost} steps of one run")


def _plain(value: Any) -> Any:
    """JSON has no infinity, and keys are strings."""
    from math import isfinite

    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not isfinite(value) else value
