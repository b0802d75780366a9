"""What every continuous model has: a state that moves by a drift and a Brownian motion, and a unit of time."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, Inexact

from stablestep.problem import Problem
from stablestep.schedule import Schedule, Seen
from stablestep.sde.memory import Memory

Scalar = Float[Array, ""] | float
Vector = Inexact[Array, " d"]  # complex along the principal flow


class Continuous(eqx.Module):
    """d(state) = drift dt + spread dW, W a Brownian motion in d dimensions; one iteration of the optimizer takes the time `tick`.

    Attributes:
        law: of the mean message M that is fresh: `mean(x)`, `covariance(x)`.
        eta: η of the schedule.
        memory: what the optimizer's memory does (nothing, for one without).
    """

    problem: Problem
    law: Any
    schedule: Schedule
    eta: float
    memory: Memory
    kind: str = eqx.field(static=True)
    form: str = eqx.field(static=True)
    noiseless: bool = eqx.field(static=True)

    @property
    def eta_effective(self) -> float:
        """η_e: the step that a memory makes of η."""
        return self.eta * self.memory.gain

    @property
    def delay(self) -> float:
        """τ: by how many steps the direction lags behind the gradients."""
        return self.memory.delay

    @property
    def kappa(self) -> float:
        """κ: the memory multiplies the covariance of the messages by it."""
        return self.memory.kappa

    @property
    def theta(self) -> float:
        """θ̂ of the loss-matching correction (1 without memory), NaN where there is none."""
        return self.memory.theta

    @property
    def tick(self) -> float:
        """The time of one iteration: t = k · tick."""
        return self.eta_effective

    @abc.abstractmethod
    def begin(self, x: Vector) -> Any:
        """The state at x."""

    @abc.abstractmethod
    def point(self, state: Any) -> Vector:
        """Where f is looked at."""

    @abc.abstractmethod
    def drift(self, t, state: Any) -> Any:
        """The drift at time t, of the structure of the state."""

    @abc.abstractmethod
    def diffusion(self, t, state: Any) -> lx.AbstractLinearOperator:
        """G of the noise G dW."""

    @abc.abstractmethod
    def spread(self, t, state: Any, vector: Vector) -> Any:
        """What an increment `vector` of the Brownian motion adds to the state."""

    @abc.abstractmethod
    def start(self, x0: Vector) -> Vector:
        """Where the model starts if the optimizer starts at x0."""

    def rate(self, t: Scalar, x: Vector) -> Scalar:
        """η_t at (t, x): the step of the schedule over η."""
        gradient = self.problem.gradient(x)
        square = jnp.sum(gradient * gradient)
        # The double where keeps the derivative of the root finite at a stationary point.
        norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
        unseen = jnp.full_like(norm, jnp.nan)
        # A schedule counts η an iteration.
        return self.schedule.step(t * (self.eta / self.tick), Seen(norm, unseen, unseen, unseen)) / self.eta

    def field(self, t: Scalar, x: Vector) -> Vector:
        """s(t, x) = η_t m(x), the mean step over η."""
        return self.rate(t, x) * self.law.mean(x)


def arguments(t, x) -> tuple[Scalar, Vector]:
    """The time and the point as arrays of one dtype."""
    x = jnp.asarray(x)
    return jnp.asarray(t, x.real.dtype), x
