"""Real noise: the gradient of a batch of the agent's own data."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx

from stablestep.errors import checked, require, whole
from stablestep.noise.base import Noise
from stablestep.problem import SumProblem


class Minibatch(Noise):
    """The gradient of a batch drawn with replacement from the agent's own data: real noise, whatever its law.

    The problem (or the agent's own, `Agents(problem=…)`) must be a finite sum: Logistic, PhaseRetrieval, FiniteSum.

    Raises:
        InvalidInput: if `batch_size` < 1.

    >>> Minibatch(batch_size=8).batch_size
    8
    """

    batch_size: int = eqx.field(static=True, converter=checked(whole, "batch_size"))

    def sample(self, stream, problem, x, gradient):
        assert isinstance(problem, SumProblem)
        uniform = stream.uniform(self.batch_size, jnp.float32)
        return problem.batch_gradient(x, (uniform * problem.size).astype(jnp.int32))

    def covariance(self, problem, x, gradient):
        assert isinstance(problem, SumProblem)
        centred = problem.term_gradients(x) - gradient
        weight = 1 / (problem.size * self.batch_size)
        return lx.FunctionLinearOperator(
            lambda vector: weight * (centred.T @ (centred @ vector)),
            jax.eval_shape(lambda: x),
            lx.positive_semidefinite_tag,
        )

    def check(self, problem):
        require(
            isinstance(problem, SumProblem),
            f"Minibatch noise needs a finite sum (Logistic, PhaseRetrieval, FiniteSum), but the problem is {type(problem).__name__}.",
        )
