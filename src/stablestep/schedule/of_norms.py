"""Steps that depend on the norms of what the agents and the server see."""

import jax.numpy as jnp

from stablestep.errors import instance, positive, require, shown
from stablestep.schedule.base import Schedule


class LocalNorms(Schedule):
    """h = η0/(1 + Ĝ), Ĝ the mean over agents of the norms of their own noisy gradients (P Eqs. 145-147).

    Ĝ overestimates ‖∇f‖ (by √(1 + dσ1²) when N is large), which errs on the safe side; it needs agent-by-agent sampling.

    Raises:
        InvalidInput: if η0 ≤ 0.

    >>> LocalNorms(eta0=0.1).needs_agents
    True
    """

    eta0: float

    def __init__(self, eta0: float):
        self.eta0 = positive("eta0", eta0)

    @property
    def eta(self) -> float:
        """η0."""
        return self.eta0

    def step(self, t, seen):
        return self.eta0 / (1 + seen.local_norm)

    @property
    def needs_agents(self):
        return True


class Clip(Schedule):
    """h = η min(1, threshold/‖M‖) for the mean message M: clipping by the norm, the baseline everyone knows.

    Raises:
        InvalidInput: if η ≤ 0 or threshold ≤ 0.

    >>> Clip(0.1, threshold=1.0).threshold
    1.0
    """

    eta: float
    threshold: float

    def __init__(self, eta: float, threshold: float):
        self.eta = positive("eta", eta)
        self.threshold = positive("threshold", threshold)

    def step(self, t, seen):
        return self.eta * jnp.minimum(1, self.threshold / seen.message_norm)

    @property
    def sees_messages(self):
        return True


class Normalized(Schedule):
    """h = ηη_t/‖D‖ for the direction D that the server makes of the messages, 0 where D = 0: every step has the length ηη_t of `schedule`.

    With HeavyBall(average=True) it is NSGD with momentum, with EF21 the normalized EF21 of Khirirat et al. (2024).

    Args:
        schedule: gives ηη_t; not normalized itself.

    Raises:
        InvalidInput: if `schedule` is no schedule, or is Normalized.

    >>> from stablestep.schedule import Constant
    >>> Normalized(Constant(0.05)).eta
    0.05
    """

    schedule: Schedule

    def __init__(self, schedule: Schedule):
        self.schedule = instance("schedule", schedule, Schedule, "Constant(0.05)")
        require(
            not isinstance(schedule, Normalized),
            f"schedule is {shown(schedule)}, which is normalized already; give the schedule inside it.",
        )

    @property
    def eta(self) -> float:
        """η of the schedule inside."""
        return self.schedule.eta

    def step(self, t, seen):
        norm = seen.direction_norm
        moves = norm > 0
        return jnp.where(moves, self.schedule.step(t, seen) / jnp.where(moves, norm, 1), 0)

    @property
    def needs_agents(self):
        return self.schedule.needs_agents

    @property
    def needs_ensemble(self):
        return self.schedule.needs_ensemble

    @property
    def sees_messages(self):
        return True

    def bind(self, setup, gradient_norm):
        return Normalized(self.schedule.bind(setup, gradient_norm))
