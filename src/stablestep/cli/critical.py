"""`stablestep critical`."""

from typing import Annotated

import typer

from stablestep.cli import screen
from stablestep.cli.app import command
from stablestep.cli.show import AsJson, Start, print_json, step

# As in stablestep.stability, which takes seconds to load; a test holds them together.
METHODS = (
    "rollouts",
    "theorem",
    "coordinate-wise",
    "loss-model",
    "one-step",
    "one-step-log",
    "moments",
    "lyapunov",
    "simulation",
)
BLOWN = 1000.0


@command(
    "stablestep critical spec.toml",
    "stablestep critical spec.toml --method simulation --json",
    more="\n\nA run has failed where its mean f over the last fifth of its steps lies above f(x0), or where f − f* has passed "
    f"{BLOWN:g} times its start on the way; that threshold is a choice, and moves the edge by some percent.",
)
def critical(
    spec: Start,
    method: Annotated[
        str,
        typer.Option("--method", help=f"{', '.join(METHODS[:-1])} or {METHODS[-1]}."),
    ] = "rollouts",
    seed: Annotated[
        int | None, typer.Option("--seed", help=r"Of every random number; by default that of \[run].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The largest constant step that is safe from x0, measured (or computed) by the chosen method."""
    from stablestep.spec import load
    from stablestep.stability import critical_step

    described = load(spec, to_run=False)
    chosen = described.run.get("seed", 0) if seed is None else seed
    found = critical_step(described.setup, x0=described.run["x0"], method=method, seed=chosen)
    if as_json:
        print_json(vars(found))
        return
    console = screen.console(highlight=False, markup=False)
    interval = "" if found.low == found.high else f", interval {step(found.low)} – {step(found.high)}"
    console.print(f"critical step {step(found.step)}{interval} ({found.status})")
    console.print(f"{found.method}: {found.definition}", soft_wrap=True)
    for name, value in found.details.items():
        if not isinstance(value, dict):
            console.print(f"{name}: {step(value) if isinstance(value, float) else value}")
    console.print(f"cost: {found.cost} steps of one run")
