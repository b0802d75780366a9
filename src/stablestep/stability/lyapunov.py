"""The almost-sure edge: the step at which the messages' random linear maps neither shrink nor stretch x in the long run."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.optimize import brentq

from stablestep.errors import InvalidInput, require
from stablestep.method import Method, method, norm
from stablestep.noise import Gaussian, Minibatch
from stablestep.problem import Quadratic
from stablestep.record import cast, working_dtype
from stablestep.schedule import Constant
from stablestep.setup import Agents, Setup
from stablestep.stability.moments import quadratic_matrix
from stablestep.stability.start_point import CriticalStep, StartPoint, symmetric
from stablestep.stream import Family, Stream

LARGEST = 512


def lyapunov(case: StartPoint, runs: int = 64, steps: int = 1000) -> CriticalStep:
    """The h at which lim (1/k) E log‖x_k‖ = 0 for the method linearised at x0, without its additive noise.

    On a quadratic this is the almost-sure edge: below it every run converges (to its noise level), above it every run diverges. It lies
    above the mean-square edge, where rare runs already dominate E‖x_k‖². Elsewhere H is frozen at x0.

    Raises:
        InvalidInput: for messages that do not grow in proportion to the gradient (signs, clipping), minibatches, groups with data of
            their own, more than 512 coordinates, or a Hessian at x0 that is not positive definite.
    """
    require(runs >= 1, f"runs is {runs}, but must be at least 1.")
    require(steps >= 1, f"steps is {steps}, but must be at least 1.")
    frozen = linearised(case)
    random = not all(group.noise.is_zero and group.compressor.deterministic for group in frozen.groups)
    runs, steps = (runs, steps) if random else (1, 200)
    with working_dtype("float64") as kind:
        linear = cast(method(frozen, Constant(1.0)), kind)
        streams = Stream.seed(case.seed).children(np.arange(runs, dtype=np.uint32), Family.RUN)
    largest = float(np.max(np.abs(np.linalg.eigvalsh(quadratic_matrix(frozen)))))
    calls = 0

    def rates(log_step: float) -> np.ndarray:
        nonlocal calls
        calls += 1
        with working_dtype("float64"):
            return np.asarray(_rates(linear, streams, np.float64(math.exp(log_step)), steps))

    def mean(log_step: float) -> float:
        return float(np.mean(rates(log_step)))

    low = high = math.log(2 / largest)
    while mean(high) < 0:
        high += math.log(2)
    while mean(low) > 0:
        low -= math.log(2)
    root = float(brentq(mean, low, high, xtol=1e-5)) if low < high else low  # pyright: ignore[reportArgumentType]
    found = rates(root)
    slope = (mean(root + 0.02) - mean(root - 0.02)) / 0.04
    error = float(np.std(found) / math.sqrt(runs)) / slope if slope > 0 else math.inf
    step = math.exp(root)
    return CriticalStep(
        step,
        *symmetric(step, error),
        "sharp" if random else "exact",
        "lyapunov",
        "the step at which (1/k) E log‖x_k‖ → 0 (almost-sure edge), linearised at x0",
        calls * runs * steps,
        {"slope": slope},
    )


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
    return Gaussian(0.0, noise.sigma1) if isinstance(noise, Gaussian) else Gaussian()


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
def _rates(method: Method, streams: Stream, eta, steps: int):
    """For each run, the growth of the state's logarithm per step after a tenth of the steps."""
    own = eqx.tree_at(lambda one: (one.schedule.eta, one.eta), method, (eta, eta))
    return jax.vmap(lambda stream: _rate(own, stream, steps))(streams)


def _rate(method: Method, stream: Stream, steps: int):
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

    dim = method.problem.dim
    begin = method.begin(stream, jnp.full(dim, dim**-0.5))
    _, total = lax.fori_loop(0, steps, step, (begin, jnp.zeros(())))
    return total / (steps - warm)
