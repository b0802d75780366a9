"""The almost-sure edge: the step at which the messages' random linear maps neither shrink nor stretch x in the long run."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from stablestep.errors import InvalidInput, require, whole
from stablestep.method import Method, method
from stablestep.noise import Gaussian, Minibatch
from stablestep.norms import norm
from stablestep.problem import Quadratic
from stablestep.progress import say
from stablestep.record import cast, working_dtype
from stablestep.schedule import Constant
from stablestep.setup import Agents, Setup
from stablestep.stability.root import bracket, mean_of, root
from stablestep.stability.start_point import CriticalStep, StartPoint, never, symmetric
from stablestep.stream import Family, Stream

LARGEST = 512
DEFINITION = "the step at which (1/k) E log‖x_k‖ → 0 (almost-sure edge), linearised at x0"


def lyapunov(case: StartPoint, runs: int = 64, steps: int = 1000) -> CriticalStep:
    """The h at which lim (1/k) E log‖x_k‖ = 0 for the method linearised at x0, without its additive noise.

    On a quadratic this is the almost-sure edge: below it every run converges (to its noise level), above it every run diverges. It lies
    above the mean-square edge, where rare runs already dominate E‖x_k‖². Elsewhere H is frozen at x0.

    Args:
        runs: independent products of maps, over which the mean is taken.
        steps: of each.

    Raises:
        InvalidInput: for messages that do not grow in proportion to the gradient (signs, clipping), minibatches, groups with data of
            their own, more than 512 coordinates, or a Hessian at x0 that is not positive definite.
    """
    runs, steps = whole("runs", runs), whole("steps", steps)
    frozen = linearised(case)
    # A biased compressor is no linear map: its products wander, even where nothing is random.
    linear = all(g.noise.is_zero and g.compressor.deterministic and g.compressor.unbiased for g in frozen.groups)
    runs, steps = (1, 200) if linear else (runs, steps)
    rates, calls = _growth(frozen, case.seed, runs, steps), 0

    def counted(log_step: float) -> np.ndarray:
        nonlocal calls
        calls += 1
        say(f"{calls} steps tried")
        return rates(math.exp(log_step))

    low, high = bracket(lambda log_step: mean_of(counted(log_step)) > 0, math.log(2 / frozen.problem.smoothness(0.0)))
    if not high - low < math.inf:
        return never(math.inf if math.isinf(high) else 0.0, "lyapunov", DEFINITION, calls * runs * steps)
    found = root(counted, low, high, 1e-5)
    status, cost = "exact" if linear else "estimated", calls * runs * steps
    interval = symmetric(found.step, found.error)
    return CriticalStep(found.step, *interval, status, "lyapunov", DEFINITION, cost, {"slope": found.slope})


def _growth(frozen: Setup, seed: int, runs: int, steps: int) -> Callable[[float], np.ndarray]:
    """h ↦ the growth rate of each of `runs` runs."""
    with working_dtype("float64") as kind:
        linear = cast(method(frozen, Constant(1.0)), kind)
        streams = Stream.seed(seed).children(np.arange(runs, dtype=np.uint32), Family.RUN)
    # In every direction: one that is chosen might hold no part of what grows.
    points = np.random.default_rng(seed).normal(size=(runs, frozen.dim))
    points /= np.linalg.norm(points, axis=1, keepdims=True)

    def rates(step: float) -> np.ndarray:
        with working_dtype("float64"):
            return np.asarray(_rates(linear, streams, points, np.float64(step), steps))

    return rates


def linearised(case: StartPoint) -> Setup:
    """The setup on the quadratic with the Hessian at x0, without additive noise."""
    setup = case.setup
    for group in setup.groups:
        require(
            group.compressor.homogeneous,
            f"{group.compressor.name} messages do not grow in proportion to the gradient, so they have no Lyapunov exponent; "
            'use method="rollouts".',
        )
        if isinstance(group.noise, Minibatch):
            raise InvalidInput('minibatch noise does not linearise with the Hessian alone; use method="rollouts".')
    require(not setup.differs, 'groups have problems of their own, so there is no one Hessian; use method="rollouts".')
    require(
        setup.dim <= LARGEST,
        f'the Hessian at x0 takes at most {LARGEST} coordinates, but there are {setup.dim}; use method="rollouts".',
    )
    groups = [Agents(g.count, _relative(g.noise), g.compressor, mask=g.mask) for g in setup.groups]
    return Setup(_frozen(case), *groups, server=setup.server)


def _relative(noise) -> Gaussian:
    """What is left of a noise as x goes to infinity, relative to the gradient."""
    return Gaussian(0.0, np.asarray(noise.sigma1)) if isinstance(noise, Gaussian) else Gaussian()


def _frozen(case: StartPoint) -> Quadratic:
    problem = case.setup.problem
    if isinstance(problem, Quadratic):
        hessian = np.asarray(problem.matrix, float)
    else:
        with working_dtype("float64"):
            point = jnp.asarray(case.point)
            hessian = np.asarray(jax.jit(jax.vmap(lambda v: problem.hessian_product(point, v)))(jnp.eye(point.size)))
            hessian = (hessian + hessian.T) / 2
    smallest = np.min(hessian if hessian.ndim == 1 else np.linalg.eigvalsh(hessian))
    require(
        bool(smallest > 0),
        f"the Hessian at x0 has the eigenvalue {smallest:.4g}, but must be positive definite to be linearised; "
        'use method="rollouts".',
    )
    return Quadratic(hessian)


@eqx.filter_jit
def _rates(method: Method, streams: Stream, points: Float[Array, "runs d"], eta, steps: int):
    """For each run, the growth of the state's logarithm per step after a tenth of the steps."""
    own = eqx.tree_at(lambda one: (one.schedule.eta, one.eta), method, (eta, eta))
    return jax.vmap(lambda stream, point: _rate(own, stream, point, steps))(streams, points)


def _rate(method: Method, stream: Stream, point: Float[Array, " d"], steps: int):
    warm = steps // 10

    def step(k, carried):
        state, total = carried
        after = method.step(stream, k, state)
        numbers, rest = eqx.partition(after, eqx.is_inexact_array)
        size = norm(jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(numbers)]))
        grown = jnp.log(jnp.maximum(size, jnp.finfo(size.dtype).tiny))
        # What is homogeneous of degree 1 may be scaled back at any time.
        scaled = jax.tree.map(lambda number: number / jnp.where(size > 0, size, 1), numbers)
        return eqx.combine(scaled, rest), total + jnp.where(k >= warm, grown, 0)

    begin = method.begin(stream, point)
    _, total = lax.fori_loop(0, steps, step, (begin, jnp.zeros(())))
    return total / (steps - warm)
