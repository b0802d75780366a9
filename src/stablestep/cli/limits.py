"""`stablestep limits`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from stablestep.cli import screen
from stablestep.cli.app import command
from stablestep.cli.show import AsJson, Start, print_json, step

if TYPE_CHECKING:
    from rich.table import Table

    from stablestep.stability import Advice

MEASURE = "Theorems are worst cases; `stablestep critical` measures where the method itself goes wrong."


@command(
    "stablestep limits spec.toml",
    "stablestep limits spec.toml --epsilon 0.9 --json",
    more="\n\nprinted is a limit as its paper has it, corrected what holds. P is the newer version of the paper, "
    "S2 the earlier one; theory2 are results of StableStep's own. "
    "In Python, help(stablestep.theorem.result(NAME)) says what each states.",
)
def limits(
    spec: Start,
    epsilon: Annotated[
        float, typer.Option("--epsilon", help="In (0, 1): towards 1, larger steps, worse bounds.")
    ] = 0.5,
    L1: Annotated[
        float | None, typer.Option("--L1", help="Which pair (L0, L1); by default the best one at the start.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Step limits of every theorem at the start (as P's Table 2), what dominates them, and what would buy a larger step."""
    from stablestep.spec import load
    from stablestep.stability import advise

    described = load(spec, to_run=False)
    found = advise(described.setup, x0=described.run["x0"], epsilon=epsilon, L1=L1, seed=described.run.get("seed", 0))
    if as_json:
        print_json(as_record(found))
        return
    console = screen.console()
    console.print(_table(found))
    elsewhere = [f"Does not apply: {row.reason}" for row in found.rows if not row.applies]
    for line in [*elsewhere, *found.sentences, MEASURE]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def as_record(found: "Advice") -> dict[str, Any]:
    """The advice as numbers and texts."""
    return {
        "gradient_norm": found.gradient_norm,
        "epsilon": found.epsilon,
        "constants": vars(found.constants),
        "results": [vars(row) for row in found.rows],
        "limit": found.limit,
        "shares": found.shares,
        "constant_step": found.constant_step,
        "normalization": dict(zip("ab", found.normalization or (None, None))),
        "verdict": found.verdict,
        "buys": found.buys,
        "practice": vars(found.practice),
    }


def _table(found: "Advice") -> "Table":
    from rich.table import Table

    from stablestep.stability.advice import HEAD, MODELS

    table = Table(*HEAD, box=None, pad_edge=False)
    for row in found.rows:
        if row.applies:
            table.add_row(
                row.name, MODELS[row.sde], step(row.printed), step(row.corrected), row.reason or row.reference
            )
    return table
