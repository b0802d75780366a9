"""Underdamped models of heavy ball: the pair of the point and the momentum, where β → 1 as η → 0; how fast is part of the name."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx

from stablestep.errors import InvalidInput, require
from stablestep.message import law
from stablestep.schedule import Constant, Schedule
from stablestep.sde import check
from stablestep.sde.continuous import Continuous, Vector, arguments
from stablestep.sde.memory import Memory
from stablestep.sde.root import root_of
from stablestep.sde.sampled import sampled
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup

KINDS = ("underdamped-a", "underdamped-a-classic", "underdamped-b")


class Underdamped(Continuous):
    """The state (X, m) of heavy ball; C is the covariance of the mean message, dt is left out in drifts.

    "underdamped-a", 1 − β = cη_e, t = kη_e, m the average of messages: dX = −η_t m, dm = c(M̄ − m) + c√η_e C^½ dW, of weak order 1;
    "underdamped-a-classic" adds (η_e/2)(−c(M̄ − m), c(J m + c(M̄ − m))), J the Jacobian of the mean message M̄: of weak order 2.
    "underdamped-b", 1 − β = γ√η, t = k√η, V = −√η m: dX = η_t V, dV = −γV − M̄ + η^¼ C^½ dW (Li, Tai and E), of weak order 1 in √η.
    """

    beta: float
    warm: bool = eqx.field(static=True)

    @property
    def tick(self) -> Any:
        return jnp.sqrt(self.eta_effective * (1 - self.beta)) if self.kind == KINDS[2] else self.eta_effective

    @property
    def friction(self) -> Any:
        """c of "underdamped-a", γ of "underdamped-b"."""
        return (1 - self.beta) / self.tick

    def begin(self, x):
        still = jnp.zeros_like(x)
        if not self.warm:
            return x, still
        mean = self.law.mean(x)
        return x, -mean / self.friction if self.kind == KINDS[2] else mean

    def point(self, state):
        return state[0]

    def start(self, x0) -> Vector:
        """x0: the momentum has a start of its own."""
        return jnp.asarray(x0)

    def drift(self, t, state) -> Any:
        """The drifts of X and of m (of V for "underdamped-b")."""
        (t, x), momentum = arguments(t, state[0]), state[1]
        rate = self.rate(t, x)
        if self.kind == KINDS[2]:
            return rate * momentum, -self.friction * momentum - self.law.mean(x)
        mean, change = jax.jvp(self.law.mean, (x,), (momentum,)) if self.kind == KINDS[1] else (self.law.mean(x), None)
        pull = self.friction * (mean - momentum)
        if change is None:
            return -rate * momentum, pull
        half = self.eta_effective / 2
        return -momentum - half * pull, pull + half * self.friction * (change + pull)

    def spread(self, t, state, vector):
        pushed = self.diffusion(t, state).mv(vector)
        # The average moves against the point: with this sign the point goes the way of W, as in the other models.
        return jnp.zeros_like(state[0]), pushed if self.kind == KINDS[2] else -pushed

    def diffusion(self, t, state) -> lx.AbstractLinearOperator:
        """G of the momentum's G dW."""
        _, x = arguments(t, state[0])
        # √(tick) c for the average, √(tick) for V, of which one iteration takes √η.
        scale = jnp.sqrt(jnp.asarray(self.tick, x.dtype)) * (1 if self.kind == KINDS[2] else self.friction)
        root = root_of(self.law.covariance(x), x)
        if lx.is_diagonal(root):
            return lx.DiagonalLinearOperator(scale * lx.diagonal(root))
        return lx.MatrixLinearOperator(scale * root.as_matrix(), lx.lower_triangular_tag)


def underdamped(
    setup: Setup, kind: str, schedule: Schedule, form: str, samples: int | None = None, seed: int = 0
) -> Underdamped:
    """The underdamped model `kind`; `schedule` is bound, `samples` and `seed` as in `sde.model`.

    Raises:
        InvalidInput: if the server is no HeavyBall (with β > 0, without nesterov), agents remember, or a correction meets another schedule
            than Constant.
    """
    server = setup.server
    fits = isinstance(server, HeavyBall) and not server.nesterov and server.beta > 0
    if not fits:
        raise InvalidInput(
            f'the model "{kind}" is of server.HeavyBall (β > 0, without nesterov), but the server is {server}; use it, or "classic".'
        )
    assert isinstance(server, HeavyBall)
    remembering = next((group.compressor.name for group in setup.groups if group.compressor.remembers), None)
    require(remembering is None, f'the model "{kind}" is of heavy ball alone, not with {remembering}; use "classic".')
    require(form == "corrected", f"form='{form}' is for methods of the papers, which have no momentum; leave form out.")
    require(
        kind != KINDS[1] or isinstance(schedule, Constant),
        f'the correction of the model "{kind}" is known for a constant step; use schedule.Constant, or "underdamped-a".',
    )
    fresh = [Agents(g.count, g.noise, g.compressor, g.problem, g.mask) for g in setup.groups]
    exact = law(Setup(setup.base, *fresh))
    messages = exact if samples is None else sampled(exact, kind, samples, seed)
    gain = 1.0 if server.average else 1 / (1 - server.beta)
    memory = Memory(gain=gain, outside=server.delay, theta=math.nan)
    silent = check.noiseless(messages.groups)
    eta = float(schedule.eta)
    built = Underdamped(
        setup.problem, messages, schedule, eta, memory, kind, "corrected", silent, server.beta, server.warm
    )
    check.moments(built)
    return built
