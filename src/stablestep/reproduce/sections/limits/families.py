"""Each theorem's two sides on each landscape."""

from stablestep import schedule, theorem
from stablestep.claim import Claim
from stablestep.report import Table
from stablestep.reproduce.both_sides import BOWL, COSH, QUARTIC, Case, Sides, pathwise, unbiased, weighted
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import check
from stablestep.setup import Setup

NOISES = {  # ω, σ0, σ1 of two agents, the second with 1.5 times the standard deviations
    "B.1": ((0.0, 0.0), 0.3, 0.2),
    "B.2": ((0.0, 0.0), 0.3, 0.2),
    "B.3": ((4.0, 8.0), 0.3, 0.0),
    "B.5": ((4.0, 8.0), 0.3, 0.0),
    "4.1": ((4.0, 8.0), 0.2, 0.1),
    "4.2": ((4.0, 8.0), 0.2, 0.1),
}
# With x0, L1 and ε. On the quadratic ε = ½ is near the step at which fourth moments grow, and no mean of squares can then be measured.
LANDSCAPES = {
    "Σ x⁴/4": (QUARTIC, 1.0, 2.0, 0.5),
    "Σ cosh x": (COSH, 2.0, 1.0, 0.5),
    "quadratic": (BOWL, 2.0, 0.0, 0.25),
}

ETA, STEPS = 0.2, 200


def family(context: Context) -> list[Sides]:
    runs = 256 if context.quick else 2000
    chosen = {"Σ x⁴/4"} if context.quick else set(LANDSCAPES)
    held = [_held(name, label, 1, runs, context.seed) for label in LANDSCAPES if label in chosen for name in NOISES]
    if not context.quick:
        held += [_held(name, "Σ x⁴/4", 8, runs, context.seed) for name in NOISES]
        held += [_in_time(name, runs, context.seed) for name in ("4.1", "4.2")]
    return held


def _held(name: str, label: str, count: int, runs: int, seed: int) -> Sides:
    """A result on one landscape, with `count` agents of each of the two kinds."""
    landscape, x0, L1, epsilon = LANDSCAPES[label]
    agents = unbiased(*NOISES[name], count=count)
    c = theorem.constants(Setup(landscape, *agents), L1=L1, x0=x0)
    limit = schedule.StepLimit(name, eta=ETA, epsilon=epsilon, power=0.5, constants=c)
    shown = label if count == 1 else f"{label}, N = {2 * count}"
    return pathwise(name, Case(shown, landscape, agents, x0, limit, STEPS), theorem.result(name).sde, c, runs, seed)


def _in_time(name: str, runs: int, seed: int) -> Sides:
    """With L1 = 0 the limit is a number, the step a function of time, and the bound that of Eq. 17."""
    agents = unbiased(*NOISES[name])
    c = theorem.constants(Setup(BOWL, *agents), L1=0.0, x0=2.0)
    eta = min(ETA, theorem.step_limit(name, c, 0.0, LANDSCAPES["quadratic"][3]))
    case = Case("quadratic, η(1+t)^-½", BOWL, agents, 2.0, schedule.Polynomial(eta, 0.5), STEPS)
    return weighted(name, case, theorem.result(name).sde, c, runs, seed)


def limit_of(id: str, held: list[Sides]) -> Claim:
    text = {
        "limit.dsgd": ("P B.1, B.2; S2 4.1", "DSGD: below the pathwise step limit the bound holds."),
        "limit.dcsgd-bounded": (
            "P B.3, B.5; S2 4.2",
            "DCSGD, bounded variance: below the pathwise step limit the bound holds.",
        ),
        "limit.dcsgd-affine": (
            "P 4.1, 4.2 = B.6; S2 4.3",
            "DCSGD, affine variance: below the pathwise step limit the bound holds.",
        ),
    }[id]
    checks = [check(one.model, "<=", one.right, f"left side of {one.label}, {one.sde} SDE") for one in held]
    over = [f"{one.label} ({one.optimizer[0]:.3g} > {one.right:.3g})" for one in held if one.optimizer[0] > one.right]
    observed = (
        f"exceeds it on {', '.join(over)}: the first-order limit knows no 2/L" if over else "keeps it in every case"
    )
    loosest = max(one.tightness for one in held)
    detail = f"Right over left is at most {loosest:.3g}. The bound is about the SDE; the optimizer {observed}."
    return Claim(id, *text, tuple(checks), detail=detail)


def table_of(held: list[Sides]) -> Table:
    rows: list[list[str | float]] = [
        [one.name, one.case.label, one.optimizer[0], one.model[0], one.right, float(f"{one.tightness:.3g}")]
        for one in held
    ]
    columns = ["theorem", "problem", "left, optimizer", "left, SDE", "right", "right/left"]
    return Table(
        columns, rows, "Left and right side of each theorem: Σ h‖∇f‖² for pathwise steps, E‖∇f(X_t̂)‖² for η(1+t)^-½."
    )
