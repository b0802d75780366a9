"""The weak order of models with delay, exactly: from the optimizer's start, and from the start that a cold memory needs."""

import jax.numpy as jnp
import numpy as np
import xarray as xr

from stablestep import compressor, message, noise, problem, schedule, sde, server
from stablestep.claim import Claim
from stablestep.compare.scaling import largest, order_table
from stablestep.record import cast, working_dtype
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import order_check
from stablestep.setup import Agents, Setup

EFFECTIVE = (0.02, 0.01, 0.005, 0.0025)
TIME, X0 = 2.0, 1.0
LINE, ROUGH = problem.Quadratic([1.0]), noise.Gaussian(sigma0=1.0)
FEEDBACK = compressor.ErrorFeedback(compressor.RandomSparsification(omega=3.0, scaled=False))
# By name: the setup, and η_e/η.
METHODS = {
    "heavy ball, β = 0.5": (Setup(LINE, Agents(1, ROUGH), server=server.HeavyBall(0.5)), 2.0),
    "heavy ball, β = 0.8": (Setup(LINE, Agents(1, ROUGH), server=server.HeavyBall(0.8)), 5.0),
    "EF, p = 1/4": (Setup(LINE, Agents(1, ROUGH, FEEDBACK)), 1.0),
}
WARM = Setup(LINE, Agents(1, ROUGH), server=server.HeavyBall(0.8, warm=True)), 5.0
Orders = dict[tuple[str, str, bool], xr.Dataset]


def orders_of(context: Context) -> Orders:
    """By method, model, and whether the model starts where the theory says."""
    chosen = list(METHODS)[1:2] if context.quick else list(METHODS)
    kinds = (("first", True), ("classic", True), ("classic", False))
    found: Orders = {
        (name, kind, moved): _order(*METHODS[name], kind, moved) for name in chosen for kind, moved in kinds
    }
    if not context.quick:
        found["heavy ball, β = 0.8, warm", "classic", False] = _order(*WARM, "classic", False)
    return found


def _order(setup: Setup, gain: float, kind: str, moved: bool) -> xr.Dataset:
    errors = np.array([_error(setup, gain, kind, moved, effective) for effective in EFFECTIVE])
    return order_table(list(EFFECTIVE), errors, np.zeros(len(EFFECTIVE)))


def _error(setup: Setup, gain: float, kind: str, moved: bool, effective: float) -> float:
    """The E f(X_t) − E f(x_k) that is largest in size over t from a quarter of the time on; X is an Ornstein-Uhlenbeck process."""
    steps = round(TIME / effective)
    exact = message.moments(setup, effective / gain, X0, steps).loss.values
    with working_dtype("float64"):
        built = cast(sde.model(setup, kind, schedule.Constant(effective / gain)), np.dtype("float64"))
        one = jnp.ones(1)
        rate = -float(built.drift(0.0, one)[0])
        variance = float(built.diffusion(0.0, one).as_matrix()[0, 0]) ** 2
        start = float(built.start(X0 * one)[0]) if moved else X0
    decay = np.exp(-2 * rate * effective * np.arange(steps + 1))
    model = (decay * start**2 + (1 - decay) * variance / (2 * rate)) / 2
    return largest((model - exact)[steps // 4 :])


def order_start(found: Orders) -> Claim:
    printed, corrected = [], []
    for (name, kind, moved), table in found.items():
        if kind == "classic":
            where = "from x0 + τη_e∇f(x0)" if moved else "from x0"
            chosen = corrected if moved or "warm" in name else printed
            chosen.append(order_check(table, 2, f"slope of the weak error, {name}, classic model {where}"))
    return Claim(
        "mem.order.start",
        "theory of linear memories",
        "The classic SDE with delay is of weak order 2 from X0 = x0.",
        tuple(printed),
        tuple(corrected),
        detail="By exact moments on x²/2 with additive noise. A memory that starts at 0 holds the iterate back: the "
        "model must start at x0 + τη_e∇f(x0). With a warm memory x0 itself is right.",
    )
