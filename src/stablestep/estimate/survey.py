"""The constants of a training run written in JAX, and the step that the theorems allow it: a loss, parameters, batches, nothing else."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from stablestep.card import Card, Shown, number
from stablestep.compressor import Compressor
from stablestep.errors import InvalidInput, require, whole
from stablestep.estimate.data import problems_of
from stablestep.estimate.dissimilarity import Dissimilarity, dissimilarity
from stablestep.estimate.smoothness import Smoothness, smoothness
from stablestep.estimate.tail import Tail, scales, tail
from stablestep.estimate.value import FEWEST
from stablestep.estimate.variance import AffineVariance, affine_variance
from stablestep.noise import Minibatch
from stablestep.norms import SQUARED, norm
from stablestep.problem import FiniteSum, Problem, SumProblem
from stablestep.server import Server
from stablestep.setup import Agents, Setup
from stablestep.theorem import Constants, constants_from, covered
from stablestep.theorem.of_setup import sends_signs

Vector = Float[Array, " d"]
BETWEEN = 4  # steps from one point to the next
ITERATIONS = 30  # of the power method, from a vector that the point before has found
COORDINATES = 2048  # of which the tail is looked at


@dataclass(frozen=True)
class Point:
    """Measures at one point of the descent.

    Attributes:
        loss: f, the mean over all batches.
        gradient_sq: ‖∇f‖² without the share of the noise.
        variance: of one coordinate of one worker's gradient (among the batches of one client).
        curvature: ‖∇²f‖.
        along: the curvature along ∇f.
    """

    loss: float
    gradient_sq: float
    variance: float
    curvature: float
    along: float

    @property
    def gradient_norm(self) -> float:
        """‖∇f‖."""
        return math.sqrt(self.gradient_sq)


@dataclass(frozen=True, repr=False)
class Survey(Shown):
    """What a survey has found; every estimate with its interval.

    Attributes:
        points: of the descent, the first one where it began.
        smoothness: (L0, L1) of f; where clients differ, `client_smoothness` is that of their own f_i.
        variance: σ0², σ1² of one worker's gradient.
        dissimilarity: (𝔅², ζ²), where clients were told apart.
        tail: how heavy the noise at the start is (of the first client); None where it has fewer than 8 batches, or they do not differ.
        constants: for `theorem`, `advise(constants=)` and `critical_step(method="theorem", constants=)`; None where none knows the method.
        result: the theorem that covers the method, or None; `reason` says why.
        step: the largest constant step ηη_t that it allows at all points (ε → 1), or None.
        setup: the run as a `Setup` of its batches, to simulate it or to find other critical steps, from `x0` [d].
    """

    points: tuple[Point, ...]
    smoothness: Smoothness
    client_smoothness: Smoothness | None
    variance: AffineVariance
    dissimilarity: Dissimilarity | None
    tail: Tail | None
    constants: Constants | None
    result: str | None
    step: float | None
    reason: str
    setup: Setup
    x0: Vector

    @property
    def _card(self) -> Card:
        allowed = f"{self.result} allows constant steps up to {number(self.step)}"
        title = f"no theorem covers this: {self.reason}" if self.result is None else allowed
        rows = {"L0": self.smoothness.L0, "L1": self.smoothness.L1}
        if self.client_smoothness is not None:
            rows |= {"L0 of a client": self.client_smoothness.L0, "L1 of a client": self.client_smoothness.L1}
        rows |= {"σ0²": self.variance.sigma0_sq, "σ1²": self.variance.sigma1_sq}
        if self.dissimilarity is not None:
            rows |= {"𝔅²": self.dissimilarity.B2, "ζ²": self.dissimilarity.zeta2}
        if self.tail is not None:
            rows["ν"] = self.tail.nu
        lines = (f"Seen at {len(self.points)} points of a descent; N = {self.setup.count}, d = {self.setup.dim}.",)
        return Card(title, rows=tuple((name, str(found)) for name, found in rows.items()), lines=lines)


def survey(
    loss: Callable[[PyTree, PyTree], Any],
    params: PyTree,
    batches: Iterable[PyTree],
    *,
    agents: int | None = None,
    compressor: Compressor | None = None,
    mask: str = "own",
    server: Server | None = None,
    clients: Sequence | None = None,
    points: int = 12,
) -> Survey:
    """Estimate what the theorems ask of a training run, on a short descent of the mean loss from `params`, and what step they allow.

    Gradients of all batches at each of the points give ‖∇f‖ and the noise of one worker, Hessian-vector products ‖∇²f‖. The descent takes
    steps of 1/(2‖∇²f‖); of what lies off its way nothing is known, and (L0, L1) are an envelope of what was seen. It costs some 70
    gradients of all batches a point, and holds one gradient for each batch.

    Args:
        loss: loss(params, batch), the mean loss on a batch, written with jax.numpy.
        params: a pytree of arrays of floats; it stays as it is.
        batches: at least 8 of one shape, each as large as one worker's in one step.
        agents: N, 4 by default; a multiple of the number of clients (by default that number) where they are told apart.
        compressor, mask, server: the method, as of `Agents` and `Setup`.
        clients: for data that differ between clients the client of every batch (any labels), each of as many batches, at least two.
        points: how many are looked at, at least 6.

    Raises:
        InvalidInput: if an argument cannot be right, the loss or its gradient is not finite on the way, or gradients are so small or large
            that their digits or squares are lost.

    >>> draws = np.random.default_rng(0).normal(size=(16, 3))
    >>> found = survey(lambda w, x: jnp.sum((w - x) ** 2), np.ones(3), list(draws), agents=8)
    >>> found.result, round(found.smoothness.L0.value, 4), round(found.step, 4)     # 2/(L0 (1 + A/N)), A = 0
    ('B.2', 2.0, 1.0)
    """
    points = whole("points", points, least=FEWEST)
    x0, problems = problems_of(loss, params, batches, clients)
    count = _count(agents, len(problems))
    setup = Setup(None, *(Agents(count, Minibatch(1), compressor, one, mask) for one in problems), server=server)
    return _found(setup, x0, _descent(setup, problems, x0, points))


def _count(agents: int | None, clients: int) -> int:
    """How many agents each client has."""
    chosen = whole("agents", agents if agents is not None else 4 if clients == 1 else clients)
    require(
        chosen % clients == 0,
        f"agents is {chosen}, but must be a multiple of the {clients} clients, as each has as many.",
    )
    return chosen // clients


class _Look(NamedTuple):
    """One point, as arrays: over clients [n] what is called so; `length` is ‖∇f‖, `spread` the norm of all deviations."""

    loss: Array
    length: Array
    clients: Float[Array, "n d"]
    spread: Array
    curvature: Array
    along: Array
    bent: Float[Array, " n"]
    vectors: Float[Array, "m d"]
    samples: Float[Array, "b J"]

    @property
    def noise(self) -> float:
        """The total variance of one worker's gradient; a Python number, as float32 may not hold it."""
        clients, own = self.clients.shape[0], self.samples.shape[0]
        return float(self.spread) ** 2 / (clients * (own - 1))


@eqx.filter_jit
def _look(problem: Problem, parts: list[SumProblem], x: Vector, vectors: Float[Array, "m d"]) -> _Look:
    each = jnp.stack([_singles(part, x) for part in parts])
    clients = jnp.mean(each, axis=1)
    mean = jnp.mean(clients, axis=0)
    # Norms, as squares of small gradients vanish.
    spread = norm(jnp.ravel(each - clients[:, None]))
    whole, *own = [_top(one, x, vector) for one, vector in zip([problem, *parts], vectors, strict=True)]
    length = norm(mean)
    unit = mean / jnp.where(length > 0, length, 1)
    along = jnp.vdot(unit, problem.hessian_product(x, unit))
    bent, found = jnp.stack([size for size, _ in own]), jnp.stack([vector for _, vector in (whole, *own)])
    return _Look(problem.value(x), length, clients, spread, whole[0], along, bent, found, each[0, :, :COORDINATES])


def _singles(part: SumProblem, x: Vector) -> Float[Array, "b d"]:
    """The gradient of each batch, one after another."""
    return jax.lax.map(lambda place: part.batch_gradient(x, place[None]), jnp.arange(part.size))


def _top(problem: Problem, x: Vector, vector: Vector) -> tuple[Array, Vector]:
    """‖∇²f‖ by the power method, and its vector."""

    def again(_, state):
        _, direction = state
        bent = problem.hessian_product(x, direction)
        size = norm(bent)
        return size, jnp.where(size > 0, bent / jnp.where(size > 0, size, 1), direction)

    return jax.lax.fori_loop(0, ITERATIONS, again, (jnp.zeros((), x.dtype), vector))


def _descent(setup: Setup, parts: list[FiniteSum], x: Vector, count: int) -> list[_Look]:
    tilt = np.random.default_rng(0).normal(size=(1 + len(parts), x.size))
    vectors = jnp.asarray(tilt / np.linalg.norm(tilt, axis=1, keepdims=True), x.dtype)
    gradient, looks = eqx.filter_jit(lambda at: setup.problem.gradient(at)), []
    for place in range(count):
        found = _look(setup.problem, list(parts), x, vectors)
        _check_finite(found, place)
        if place == 0:
            _check_held(found, x.dtype)
        looks.append(found)
        vectors = found.vectors
        for _ in range(BETWEEN if found.curvature > 0 else 0):
            x = x - gradient(x) / (2 * found.curvature)
    return looks


def _check_finite(found: _Look, number: int) -> None:
    for name in ("loss", "spread", "curvature"):
        value = float(getattr(found, name))
        what = {"loss": "the loss", "spread": "a gradient", "curvature": "the Hessian"}[name]
        where = "at params" if number == 0 else f"at point {number} of the descent"
        require(
            math.isfinite(value),
            f"{what} is not finite {where}; begin where training is healthy, or look for the batch.",
        )


def _check_held(found: _Look, dtype: np.dtype) -> None:
    """Gradients and curvatures are wanted with all their digits, and with squares in float64."""
    least, most = max(1e6 * float(jnp.finfo(dtype).tiny), 1 / SQUARED), SQUARED
    size, bent = max(float(found.length), float(found.spread)), float(found.curvature)
    require(
        (size == 0 or least <= size <= most) and (bent == 0 or least <= bent) and max(size, bent) > 0,
        f"at params the gradients have the size {size:.4g} and the Hessian {bent:.4g}, but must be between {least:.2g} and {most:g} in "
        f"{dtype}; multiply the loss by a constant, which divides the steps by it.",
    )


def _point(found: _Look, batches: int) -> Point:
    square, spread = float(found.length) ** 2, found.noise
    return Point(
        loss=float(found.loss),
        gradient_sq=max(0.0, square - spread / batches),
        variance=spread / found.clients.shape[1],
        curvature=float(found.curvature),
        along=float(found.along),
    )


def _found(setup: Setup, x0: Vector, looks: list[_Look]) -> Survey:
    own = looks[0].samples.shape[0]
    told = len(setup.groups) > 1
    points = tuple(_point(look, own * len(setup.groups)) for look in looks)
    smooth = smoothness([point.gradient_norm for point in points], [point.curvature for point in points])
    spread = affine_variance([point.gradient_sq for point in points], [point.variance for point in points])
    noise = np.array([look.noise for look in looks]) / own
    apart = dissimilarity(np.array([look.clients for look in looks]), noise) if told else None
    bent = _of_clients(looks, noise) if told else None
    samples = np.asarray(looks[0].samples, float)
    heavy = _tail(samples)
    c, reason = _constants(setup, bent or smooth, spread, apart, heavy, samples, smooth if told else None)
    result, step, reason = (None, None, reason) if c is None else _covered(setup, c, points)
    return Survey(points, smooth, bent, spread, apart, heavy, c, result, step, reason, setup, x0)


def _of_clients(looks: list[_Look], noise: Float[np.ndarray, " p"]) -> Smoothness:
    """Of all clients at all points."""
    squares = np.array([np.sum(np.square(np.asarray(look.clients, float)), axis=1) for look in looks])
    norms = np.sqrt(np.maximum(0.0, squares - noise[:, None]))
    return smoothness(norms.ravel(), np.array([look.bent for look in looks], float).ravel())


def _tail(samples: Float[np.ndarray, "b J"]) -> Tail | None:
    try:
        return tail(samples)
    except InvalidInput:
        return None


def _constants(setup: Setup, smooth, spread, apart, heavy, samples, mean) -> tuple[Constants | None, str]:
    known: dict[str, Any] = {} if mean is None else {"mean_smoothness": (mean.L0.value, mean.L1.value)}
    try:
        if not sends_signs(setup):
            return constants_from(smooth, spread, dissimilarity=apart, setup=setup, **known), ""
        nu = math.inf if heavy is None else heavy.nu.value
        low, high = scales(samples, nu)
        known |= {"nu": nu, "scale_min": low, "scale_max": high}
        return constants_from(smooth, dissimilarity=apart, setup=setup, **known), ""
    except InvalidInput as error:
        return None, str(error)


def _covered(setup: Setup, c: Constants, points: tuple[Point, ...]) -> tuple[str | None, float | None, str]:
    """The result's name and the smallest of its limits."""
    try:
        found = [covered(setup, point.gradient_norm, constants=c) for point in points]
    except InvalidInput as error:
        return None, None, str(error)
    return found[0].result.name, min(one.step for one in found), ""
