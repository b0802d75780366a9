"""A theorem's left side, measured, against its right side: on the optimizer and on the SDE that it is proved for."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np

from stablestep import compressor, noise, problem, schedule, sde, theorem
from stablestep.problem import Problem
from stablestep.reproduce.measure import Measured, mean
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate

SUBSTEPS = 16


@dataclass(frozen=True, eq=False)
class Case:
    """A start and a schedule on one setup, that results are held against."""

    label: str
    problem: Problem
    agents: tuple[Agents, ...]
    x0: float
    schedule: schedule.Schedule
    steps: int

    @property
    def setup(self) -> Setup:
        return Setup(self.problem, *self.agents)


@dataclass(frozen=True)
class Sides:
    """A result's number, its left sides (mean, standard error) on the optimizer and the SDE, and its right side, for the latter."""

    name: str
    case: Case
    optimizer: Measured
    model: Measured
    right: float

    @property
    def sde(self) -> str:
        """The model that the result is about."""
        return theorem.result(self.name).sde

    @property
    def label(self) -> str:
        return f"{self.name}, {self.case.label}"

    @property
    def tightness(self) -> float:
        """Right over left."""
        return self.right / self.model[0]


@lru_cache(maxsize=4)  # several results are held against the same paths
def paths(case: Case, kind: str | None, runs: int, seed: int, form: str = "corrected") -> tuple[np.ndarray, np.ndarray]:
    """‖∇f‖ at t = 0, η, 2η, … on each run (runs × times), of the optimizer or of an SDE model, and those times."""
    common: dict[str, Any] = dict(x0=case.x0, runs=runs, seed=seed, observe={"norm": _norm_of(case.problem)})
    eta, marks = case.schedule.eta, np.arange(case.steps + 1)
    if kind is None:
        found = simulate(case.setup, schedule=case.schedule, steps=case.steps, record=marks, **common)
    else:
        start = float(np.linalg.norm(case.problem.gradient(jnp.full(case.problem.dim, case.x0))))
        built = sde.model(case.setup, kind, case.schedule, form=form, gradient_norm=start)
        common |= {"time": case.steps * eta, "dt": eta / SUBSTEPS, "record": marks * SUBSTEPS, "error": False}
        found = sde.integrate(built, **common)
    norms = found.norm.transpose("run", "time").values
    return np.where(np.isnan(norms), np.inf, norms), marks * eta


_NORMS: dict[int, Any] = {}


def _norm_of(landscape: Problem):
    """x ↦ ‖∇f(x)‖: one function for each problem, since another one would compile another kernel."""
    return _NORMS.setdefault(id(landscape), lambda x: jnp.linalg.norm(landscape.gradient(x)))


def pathwise(name: str, case: Case, kind: str, c: theorem.Constants, runs: int, seed: int) -> Sides:
    """E ∫η_s‖∇f‖² ds against (S0 + η(L0 + L1) B/(2N) E ∫η_s² ds)/(1 − ε), for the adapted step of a `StepLimit`."""
    limit = case.schedule
    assert isinstance(limit, schedule.StepLimit)
    found = theorem.result(name)
    offset, slope = found.normalization(c, limit.epsilon)
    sides = []
    for what in (None, kind):
        norms, times = paths(case, what, runs, seed)
        steps = 1 / np.maximum(offset + slope * norms, (1 + times) ** limit.power / limit.eta)
        weights = _quadrature(len(times), what)
        # h² is part of the right side: its mean over the same runs.
        sides.append(((steps * norms**2) @ weights, float(np.mean(steps**2 @ weights))))
    floor = found.floor(c) * (c.L0 + c.L1) / 2  # pyright: ignore[reportAttributeAccessIssue]
    right = ((c.initial_gap or 0.0) + floor * sides[1][1]) / (1 - limit.epsilon)
    return Sides(name, case, mean(sides[0][0]), mean(sides[1][0]), right)


def weighted(
    name: str,
    case: Case,
    kind: str,
    c: theorem.Constants,
    runs: int,
    seed: int,
    model_form: str = "corrected",
    **options,
) -> Sides:
    """E measure(∇f(X_t̂)), t̂ drawn with the result's own density, against its bound, for a schedule that is a function of time."""
    found, times = theorem.result(name), np.arange(case.steps + 1) * case.schedule.eta
    end = float(times[-1])
    phi1, phi2 = (case.schedule.phi(order, end) for order in (1, 2))
    eta_t = np.array([float(case.schedule.step(jnp.asarray(t), None)) for t in times]) / case.schedule.eta  # pyright: ignore
    common: dict[str, Any] = dict(eta=case.schedule.eta, phi1=phi1, phi2=phi2)
    density = np.asarray(found.density(c, eta_t=eta_t, **common, **options))
    sides = []
    for what in (None, kind):
        norms, _ = paths(case, what, runs, seed, model_form if what else "corrected")
        weights = density * _quadrature(len(times), what)
        sides.append(mean(np.asarray(found.measure(c, norms, **options)) @ (weights / np.sum(weights))))
    signs = {} if c.signs else {"epsilon": 0.5}
    return Sides(name, case, sides[0], sides[1], found.bound(c, **common, **signs, **options))


def _quadrature(count: int, kind: str | None) -> np.ndarray:
    """Weights of ∫ ds/η: the optimizer's own sum over its steps, and the trapezoidal rule along a continuous path."""
    weights = np.ones(count)
    weights[-1] = 0.0 if kind is None else 0.5
    weights[0] = 1.0 if kind is None else 0.5
    return weights


def unbiased(omega: tuple[float, ...], sigma0: float, sigma1: float, count: int = 1) -> tuple[Agents, ...]:
    """`count` agents for each ω: always sparsified (ω = 0 keeps everything), so that all cases share their compiled kernels."""
    return tuple(
        Agents(count, noise.Gaussian(sigma0 * (1 + i / 2), sigma1 * (1 + i / 2)), compressor.RandomSparsification(each))
        for i, each in enumerate(omega)
    )


def signs(scales: tuple[float, ...], df: float = 1.0) -> tuple[Agents, ...]:
    """One agent for each scale."""
    return tuple(Agents(1, noise.StudentT(df, scale), compressor.Sign()) for scale in scales)


QUARTIC, COSH, BOWL = problem.Quartic(4), problem.Cosh(3, 1.0), problem.Quadratic([1.0, 2.0, 4.0])
