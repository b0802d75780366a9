"""What a linear memory does to the slow path: its effective step, its delay, what it makes of noise, and where it starts."""

import math
from typing import NamedTuple

import equinox as eqx

from stablestep.compressor import EF21, Compressor, ErrorFeedback, Identity, Momentum
from stablestep.compressor.feedback import Wrapper
from stablestep.compressor.masks import Mask, RandomSparsification
from stablestep.errors import require
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup

KNOWN = (
    "every linear memory has one (server.HeavyBall; ErrorFeedback and EF21 around Identity or a mask with scaled=False; Momentum before "
    "Identity or one of these), and so has Signum, Momentum(Sign(), beta)"
)


class Memory(eqx.Module):
    """A linear memory at a step η: x⁺ = z − η_e M, x = z + η_e τ m (theory of the virtual iterate).

    Attributes:
        gain: η_e/η.
        inside: the part of τ that counts displacements (a step inside an error memory).
        outside: the part of τ that counts messages.
        cold: the part of τ of memories that start at 0.
        kappa: κ, what the covariance of the mean message is multiplied by.
        theta: θ̂ of the loss-matching model, NaN where there is none.
        lags: whether `outside` is more than 0.
        crossed: whether κ is that of variances alone, as coordinates are masked independently; None where κ is 1.
    """

    gain: float = 1.0
    inside: float = 0.0
    outside: float = 0.0
    cold: float = 0.0
    kappa: float = 1.0
    theta: float = 1.0
    lags: bool = eqx.field(static=True, default=False)
    crossed: bool | None = eqx.field(static=True, default=None)

    @property
    def delay(self) -> float:
        """τ, in steps."""
        return self.inside + self.outside


class Chain(NamedTuple):
    """The memory of one group's agents: their averages' β, and the chance p of what is sent through a mask of class `mask` (1: no mask);
    `held`: by EF21, from its exact gradient on if `warm`."""

    inside: float = 0.0
    outside: float = 0.0
    cold: float = 0.0
    kappa: float = 1.0
    betas: tuple[float, ...] = ()
    chance: float = 1.0
    mask: type | None = None
    held: bool = False
    warm: bool = False


def linear_memory(setup: Setup) -> tuple[Setup, Memory]:
    """The setup without its memory (whose law is that of fresh messages), and what the memory does.

    >>> from stablestep.problem import Quadratic
    >>> from stablestep.server import HeavyBall
    >>> _, memory = linear_memory(Setup(Quadratic([1.0]), Agents(1), server=HeavyBall(0.8)))
    >>> round(1 + 2 * memory.delay, 9), round(memory.gain, 9), round(memory.theta, 9)
    (9.0, 5.0, 0.111111111)

    Raises:
        InvalidInput: where a memory is not linear, or the agents' memories differ.
    """
    require(setup.server.plain or isinstance(setup.server, HeavyBall), unknown(setup.server.name))
    chains = [_chain(group.compressor, setup.dim) for group in setup.groups]
    require(
        len(set(chains)) == 1,
        "groups of agents with different memories have no continuous model here; give all groups the same one.",
    )
    fresh = [
        Agents(group.count, group.noise, _fresh(group.compressor), group.problem, group.mask) for group in setup.groups
    ]
    return Setup(setup.base, *fresh), _memory(setup, chains[0])


def _memory(setup: Setup, chain: Chain) -> Memory:
    server = setup.server
    gain = 1 / (1 - server.beta) if isinstance(server, HeavyBall) and not server.average else 1.0
    late = server.delay
    warm = isinstance(server, HeavyBall) and server.warm
    outside = chain.outside + late
    return Memory(
        gain=gain,
        inside=chain.inside,
        outside=outside,
        cold=chain.cold + (0.0 if warm else late),
        kappa=chain.kappa,
        theta=_theta(setup, chain),
        lags=outside > 0,
        crossed=None if chain.kappa == 1 or chain.mask is None else chain.mask is RandomSparsification,
    )


def _theta(setup: Setup, chain: Chain) -> float:
    """θ̂ = 2/(h at the noise-free mean-square edge), where it has a closed form: one memory in the whole setup."""
    server = setup.server
    if not server.plain:
        assert isinstance(server, HeavyBall)
        alone = chain == Chain() and all(group.compressor.unbiased for group in setup.groups)
        return _momentum_theta(server.beta) if alone and not (server.nesterov and server.beta) else math.nan
    if chain.chance == 1 and len(chain.betas) < 2:
        return _momentum_theta(sum(chain.betas))
    p, count = chain.chance, setup.masks
    if chain.betas or setup.differs or count is None:
        return math.nan
    return (count * p**2 + 4 * (1 - p)) / (count * p * (2 - p))


def _momentum_theta(beta: float) -> float:
    return (1 - beta) / (1 + beta)


def _chain(compressor: Compressor, dim: int) -> Chain:
    match compressor:
        case Momentum(inner=inner) if isinstance(inner, Identity | ErrorFeedback | EF21 | Momentum):
            return _averaged(compressor, _chain(inner, dim))
        case ErrorFeedback(inner=inner, step=step):
            p, mask = _mask(compressor, inner, dim)
            late = (1 - p) / p
            inside, outside = (late, 0.0) if step == "inside" else (0.0, late)
            return Chain(inside, outside, late, chance=p, mask=mask)
        case EF21(inner=inner, warm=warm):
            p, mask = _mask(compressor, inner, dim)
            late = (1 - p) / p
            return Chain(0.0, late, 0.0 if warm else late, (2 - p) / p, (), p, mask, True, warm)
    require(not compressor.remembers, unknown(_called(compressor)))
    return Chain()


def _averaged(compressor: Momentum, inner: Chain) -> Chain:
    beta = compressor.beta
    require(not (inner.held and inner.betas), unknown("two averages before EF21"))
    late = beta / (1 - beta)
    # The first message of a warm EF21 is not the average, which is a step further when it counts.
    cold = 0.0 if compressor.warm else late * (beta if inner.warm else 1)
    kappa = held_average(1 - beta, inner.chance) if inner.held else inner.kappa
    return inner._replace(outside=inner.outside + late, cold=inner.cold + cold, kappa=kappa, betas=(*inner.betas, beta))


def held_average(mu: float, p: float) -> float:
    """κ(μ, p) of an average that is sent through masks of chance p and held in between (EF21-SGDM); (2 − p)/p for μ = 1.

    >>> round(held_average(0.1, 0.1), 9), round(held_average(0.3, 0.25), 9), round(held_average(1.0, 0.1), 9)
    (1.498614958, 1.66873065, 19.0)
    """
    return mu / (2 - mu) * ((2 - p) / p + 2 * (1 - mu) / mu * p / (p + mu - p * mu))


def _mask(compressor: Wrapper, inner: Compressor, dim: int) -> tuple[float, type | None]:
    """p and the class of the mask through which is sent."""
    if type(inner) is Identity:
        return 1.0, None
    fits = isinstance(inner, Mask) and (not inner.scaled or inner.chance(dim) == 1)
    require(fits, unknown(_called(compressor)))
    assert isinstance(inner, Mask)
    return inner.chance(dim), type(inner)


def _called(compressor: Compressor) -> str:
    return f"{compressor.name} around {compressor.inner.name}" if isinstance(compressor, Wrapper) else compressor.name


def unknown(what: str) -> str:
    """What a user is told of a memory without a model."""
    return f"no continuous model of {what} is known; {KNOWN}; simulate the method."


def _fresh(compressor: Compressor) -> Compressor:
    return Identity() if compressor.remembers else compressor
