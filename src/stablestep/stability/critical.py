"""One question, nine answers: how large may a constant step be from here?"""

import inspect
from collections.abc import Callable

from stablestep.errors import InvalidInput, nearest, shown
from stablestep.progress import Watched, watched
from stablestep.setup import Setup
from stablestep.stability.formulas import coordinate_wise, loss_model, theorem
from stablestep.stability.lyapunov import lyapunov
from stablestep.stability.moments import moments
from stablestep.stability.onestep import one_step, one_step_log
from stablestep.stability.rollouts import rollouts
from stablestep.stability.simulation import simulation
from stablestep.stability.start_point import CriticalStep, start_point

METHODS: dict[str, Callable[..., CriticalStep]] = {
    "rollouts": rollouts,
    "theorem": theorem,
    "coordinate-wise": coordinate_wise,
    "loss-model": loss_model,
    "one-step": one_step,
    "one-step-log": one_step_log,
    "moments": moments,
    "lyapunov": lyapunov,
    "simulation": simulation,
}


def critical_step(
    setup: Setup, *, x0, method: str = "rollouts", seed: int = 0, progress: Watched = True, **options
) -> CriticalStep:
    """The largest constant step that is safe from x0, by the chosen method.

    Methods: "rollouts" (the adaptive ladder of short runs, within about 10 % of plain simulation at a fraction of its cost), "theorem"
    (the limit at x0 of the result that covers the setup: always safe for the SDE, often far too small), "coordinate-wise" (separable f),
    "loss-model" (a model, no guarantee), "one-step" and "one-step-log" (E f, E log f after one step on real messages), "moments" (exact
    mean-square edge of a quadratic), "lyapunov" (almost-sure edge, linearised), "simulation" (bisection).

    Args:
        x0: a number, a vector of length d, or a function of a JAX key.
        progress: as of `simulate`; a function hears of the end alone, as no method knows how long it takes.
        options: of the method: `rollouts(members, steps, longest, tolerance, blown)`, `simulation(steps, runs, quantile, tolerance,
            blown)`, `lyapunov(runs, steps)`, `one-step(samples)`, `one-step-log(samples)`, `theorem(L1,
            constants)`, where constants take the place of the setup's own.

    A run has failed, to "rollouts" and "simulation", where its mean f over the last fifth of its steps lies above f(x0), or where f − f*
    has passed `blown` = 1000 times its start on the way (f where the infimum f* is unknown); the threshold is a choice, and moves an edge
    by some percent. Runs are in float32 where it holds x, f, ∇f and the steps with room, else in float64. `CriticalStep.status` says what
    an answer is worth.

    Raises:
        InvalidInput: for an unknown method or option, a setup that the method cannot treat, naming one that can, or numbers that float64
            does not hold with their squares.

    >>> from stablestep import problem
    >>> from stablestep.setup import Agents
    >>> found = critical_step(Setup(problem.Quadratic([1.0, 4.0]), Agents(1)), x0=1.0, method="moments")
    >>> round(found.step, 12), found.status
    (0.5, 'exact')
    """
    if not isinstance(method, str) or method not in METHODS:
        raise InvalidInput(f"there is no method {shown(str(method))}. {nearest(str(method), METHODS)}")
    chosen = METHODS[method]
    known = list(inspect.signature(chosen).parameters)[1:]
    for name in options:
        if name not in known:
            listed = f"it takes {', '.join(known)}" if known else "it takes none"
            raise InvalidInput(f'the method "{method}" has no option "{name}"; {listed}.')
    with watched(f"critical step, {method}", progress):
        return chosen(start_point(setup, x0, seed), **options)
