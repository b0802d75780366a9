"""`stablestep limits`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from stablestep.cli import screen
from stablestep.cli.app import command
from stablestep.cli.show import AsJson, Start, print_json, step

if TYPE_CHECKING:
    from rich.table import Table

    from stablestep.stability import Advice
    from stablestep.stability.advice import Row

SDE = {"first": "classic (first order)", "new": "new", "discrete": "none (discrete time)"}


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
    for line in _sentences(found):
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

    table = Table("result", "SDE", "printed", "corrected", "reference", box=None, pad_edge=False)
    for row in found.rows:
        if _applies(row):
            table.add_row(row.name, SDE[row.sde], step(row.printed), step(row.corrected), row.reason or row.reference)
    return table


def _applies(row: "Row") -> bool:
    return row.printed is not None or row.corrected is not None


def _sentences(found: "Advice") -> list[str]:
    c = found.constants
    shares = ", ".join(f"{name} {share:.0%}" for name, share in found.shares.items())
    buys = ", ".join(f"{change}: {step(value)}" for change, value in found.buys.items())
    rule = "" if c.signs else f", ε = {found.epsilon:g}"
    elsewhere = [f"Does not apply: {row.reason}" for row in found.rows if not _applies(row)]
    return [
        *elsewhere,
        f"At x0: ‖∇f‖ = {found.gradient_norm:.4g}, (L0, L1) = ({c.L0:.4g}, {c.L1:.4g}), N = {c.agents}, d = {c.dim}{rule}. "
        "Limits hold on each path, with the path's own gradient norm.",
        *([] if found.limit is None else [f"What limits the step: {shares}."]),
        found.verdict,
        *([f"The limit would become: {buys}."] if buys else []),
        *found.practice.sentences,
        "Theorems are worst cases; `stablestep critical` measures where the method itself goes wrong.",
    ]
