"""The exact recursion of first and second moments of a method with linear memory on a quadratic (any H, own and shared masks).

Z = (x, what the server remembers, for each group the mean over its agents of what they remember). Masks and noises of a step are
independent of Z, so with F the mean map S = E ZZᵀ obeys S⁺ = FSFᵀ + (what one agent's mask and noise add)/n; what they add needs V, the
spread of agents' memories around their mean, which has a recursion of the same kind. A group with a shared mask is one agent with the
mean noise; with a common mask, what it adds to two groups is correlated too.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from stablestep.message.algebra import Algebra, Block, Dense, Diagonals, Vectors, sandwich, symmetric, weighed
from stablestep.message.landscape import Landscape, Spread, landscape, spread
from stablestep.message.linear import Agent, Passage, agent, turning, weights
from stablestep.setup import Agents, Setup


@dataclass(frozen=True)
class Moments:
    """E Z [blocks, d], E ZZᵀ [blocks, blocks, …] and, of groups that need it, E (u_i − ū)(u_i − ū)ᵀ of an agent [memories, memories, …]."""

    mean: Vectors
    second: Block
    apart: tuple[Block, ...]


@dataclass(frozen=True)
class Crew:
    """A group of equal agents as the moments see it: how many independent masks it has, and its share of all agents."""

    agents: Agents
    landscape: Landscape
    spread: Spread
    count: int
    share: float
    gain: float
    weights: np.ndarray
    fixed: Agent | None  # where the step does not matter

    def agent(self, eta: float) -> Agent:
        """What one agent does at a step."""
        return agent(self.agents.compressor, eta) if self.fixed is None else self.fixed


@dataclass(frozen=True)
class Linear:
    """A setup whose moments close: what does not depend on the step."""

    setup: Setup
    crews: tuple[Crew, ...]
    turning: np.ndarray
    algebra: Algebra

    @cached_property
    def dim(self) -> int:
        return self.setup.dim

    @cached_property
    def average(self) -> Landscape:
        """f itself."""
        of, crews = self.algebra.of, self.crews
        hessian = sum(crew.share * of(crew.landscape.hessian) for crew in crews)
        slope = sum(crew.share * crew.landscape.slope for crew in crews)
        return Landscape(
            np.asarray(hessian), np.asarray(slope), sum(crew.share * crew.landscape.value for crew in crews)
        )

    @cached_property
    def eigenvalues(self) -> Float[np.ndarray, " d"]:
        """Of f's Hessian, ascending."""
        hessian = self.average.hessian
        return np.sort(hessian) if hessian.ndim == 1 else np.linalg.eigvalsh(hessian)

    @property
    def centred(self) -> "Linear":
        """Without additive noise and slopes: what moments grow by."""
        crews = [
            replace(crew, landscape=_centred(crew.landscape), spread=_relative(crew.spread)) for crew in self.crews
        ]
        return replace(self, crews=tuple(crews))


def _centred(one: Landscape) -> Landscape:
    return replace(one, slope=np.zeros_like(one.slope), value=0.0)


def _relative(one: Spread) -> Spread:
    return replace(one, additive=np.zeros_like(one.relative))


def linear(setup: Setup, dense: bool = False) -> Linear:
    """The setup as a linear memory on a quadratic; `dense` keeps whole matrices where diagonals would close.

    Raises:
        InvalidInput: for a problem that is no quadratic, messages or a server that are not linear, noise without a variance.
    """
    turned = turning(setup.server)
    crews = tuple(_crew(setup, group) for group in setup.groups)
    diagonal = not dense and all(crew.landscape.hessian.ndim == 1 for crew in crews)
    return Linear(setup, crews, turned, Diagonals if diagonal else Dense)


def _crew(setup: Setup, group: Agents) -> Crew:
    problem = setup.problem_of(group)
    gain, spread_of_mask = weights(group.compressor, setup.dim)
    found = spread(group.noise, problem)
    if group.shared:
        found = Spread(found.additive / group.count, found.relative / group.count, found.own / group.count)
    count = 1 if group.shared else group.count
    fixed = None if group.compressor.needs_step else agent(group.compressor, 1.0)
    return Crew(group, landscape(problem), found, count, group.count / setup.count, gain, spread_of_mask, fixed)


@dataclass(frozen=True)
class Wiring:
    """One step's small matrices of numbers: `mean` (blocks ← blocks and gradients), and for each group what one agent does.

    embed [blocks, memories + 1] takes an agent's memories and message to the blocks, as the mean over the group would.
    """

    mean: np.ndarray
    embed: tuple[np.ndarray, ...]
    passages: tuple[Passage, ...]
    noise: tuple[np.ndarray, ...]  # by which an agent's inputs hold the noise of its gradient


@dataclass(frozen=True)
class Recursion:
    """The recursion of `linear` at the constant step `eta`."""

    linear: Linear
    eta: float
    agents: tuple[Agent, ...]

    @property
    def algebra(self) -> Algebra:
        return self.linear.algebra

    @cached_property
    def places(self) -> list[np.ndarray]:
        """The numbers of the blocks of each group's memories."""
        sizes = [len(one.start) for one in self.agents]
        ends = len(self.linear.turning) + np.cumsum(sizes)
        return [np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)]

    @cached_property
    def blocks(self) -> int:
        """How many there are."""
        return len(self.linear.turning) + sum(len(one.start) for one in self.agents)

    def apart(self, group: int) -> int:
        """How many memories differ between agents of a group: none if there is one agent, or one mask for all."""
        return len(self.agents[group].start) if self.linear.crews[group].count > 1 else 0

    @cached_property
    def first(self) -> Wiring:
        """Of the first step, whose noise warm memories hold already."""
        noises = [np.append(one.start[:, 0], 1.0) for one in self.agents]
        return self._wiring([one.first for one in self.agents], noises)

    @cached_property
    def later(self) -> Wiring:
        noises = [np.append(np.zeros(len(one.start)), 1.0) for one in self.agents]
        return self._wiring([one.later for one in self.agents], noises)

    def _wiring(self, passages: list[Passage], noises: list[np.ndarray]) -> Wiring:
        mean = np.zeros((self.blocks, self.blocks + len(passages)))
        kept = self.linear.turning.shape[0] - 1
        mean[0, 0] = 1.0
        mean[0, 1 : 1 + kept] = -self.eta * self.linear.turning[0, 1:]
        mean[1 : 1 + kept, 1 : 1 + kept] = self.linear.turning[1:, 1:]
        embeds = []
        for group, (crew, passage) in enumerate(zip(self.linear.crews, passages, strict=True)):
            embed = np.zeros((self.blocks, len(passage.push)))
            embed[self.places[group], np.arange(len(self.places[group]))] = 1.0
            embed[: 1 + kept, -1] = crew.share * self.linear.turning[:, 0] * np.array([-self.eta, *[1.0] * kept])
            mean[:, self._heard(group)] += embed @ passage.mean(crew.gain)
            embeds.append(embed)
        return Wiring(mean, tuple(embeds), tuple(passages), tuple(noises))

    def begin(self, x0: Float[np.ndarray, " d"]) -> Moments:
        """The moments at the start; the noise that warm memories hold is added with that of the first step."""
        mean = np.zeros((self.blocks, self.linear.dim))
        mean[0] = x0
        mean[1 : len(self.linear.turning)] = self._server_start(x0)
        for place, one, crew in zip(self.places, self.agents, self.linear.crews, strict=True):
            mean[place] = one.start.sum(axis=1)[:, None] * self._gradient(crew, x0)
        together = tuple(self.zeros(self.apart(group)) for group in range(len(self.places)))
        return Moments(mean, self.algebra.outer(mean[:, None], mean[None]), together)

    def zeros(self, size: int) -> Block:
        """size × size blocks."""
        return np.zeros((size, size, *self.algebra.eye(self.linear.dim).shape))

    def _server_start(self, x0) -> np.ndarray:
        if len(self.linear.turning) == 1:
            return np.zeros((0, self.linear.dim))
        average = self.linear.average
        gradient = self.algebra.applied(average.hessian, x0) + average.slope
        with jax.enable_x64(True):
            return np.asarray(self.linear.setup.server.memory(jnp.asarray(gradient)), float)[None]

    def _gradient(self, crew: Crew, x: np.ndarray) -> np.ndarray:
        return self.algebra.applied(self.algebra.of(crew.landscape.hessian), x) + crew.landscape.slope

    def step(
        self, moments: Moments, first: bool = False, powers: Float[np.ndarray, " groups"] | None = None
    ) -> Moments:
        """The moments one step later; `powers` in the place of E‖∇f_i‖² of every group."""
        wiring = self.first if first else self.later
        mean, second = self._extended(moments)
        after, aparts = sandwich(wiring.mean, second), []
        for group, crew in enumerate(self.linear.crews):
            noise = self._noise(crew, second[self.blocks + group, self.blocks + group], powers, group)
            passage, hears = wiring.passages[group], wiring.noise[group]
            inputs = self._inputs(moments, second, group) + _times(hears, noise)
            drawn = self.algebra.masked(crew.weights, weighed(passage.look, inputs))
            means = passage.mean(crew.gain)
            # What one agent's noise and mask add to its memories and its message.
            fresh = _times(means @ hears, noise) + _times(passage.push, drawn)
            after = after + sandwich(wiring.embed[group], fresh / crew.count)
            fades, size = means[:-1, :-1], self.apart(group)
            aparts.append(
                sandwich(fades, moments.apart[group]) + (1 - 1 / crew.count) * fresh[:-1, :-1]
                if size
                else self.zeros(0)
            )
        if self.linear.setup.common:
            after = after + self._across(wiring, second)
        return Moments(wiring.mean @ mean, after, tuple(aparts))

    def _across(self, wiring: Wiring, second: Block) -> Block:
        """What one mask for all adds to the products of two groups, whose noises are independent."""
        pushes = [embed @ passage.push for embed, passage in zip(wiring.embed, wiring.passages, strict=True)]
        looks = np.zeros((len(pushes), len(second)))
        for group, passage in enumerate(wiring.passages):
            looks[group, self._heard(group)] = passage.look
        masked = self.algebra.masked(self.linear.crews[0].weights, sandwich(looks, second))
        masked[np.diag_indices(len(pushes))] = 0
        return sandwich(np.transpose(pushes), masked)

    def _heard(self, group: int) -> list[int]:
        """The numbers of what an agent of the group hears, its memories and its exact gradient."""
        return [*self.places[group], self.blocks + group]

    def _inputs(self, moments: Moments, second: Block, group: int) -> Block:
        """E of one agent's (memories, exact gradient) with themselves."""
        chosen = self._heard(group)
        inputs = second[np.ix_(chosen, chosen)]
        if self.apart(group):
            inputs[:-1, :-1] += moments.apart[group]
        return inputs

    def _noise(self, crew: Crew, gradient: Block, powers: Float[np.ndarray, " groups"] | None, group: int) -> Block:
        """Cov of one agent's gradient noise, given E ggᵀ of its exact gradient."""
        squares = self.algebra.diagonal(gradient)
        power = np.sum(squares) if powers is None else powers[group]
        return self.algebra.of(crew.spread.additive) + self.algebra.of(
            crew.spread.relative * power + crew.spread.own * squares
        )

    def _extended(self, moments: Moments) -> tuple[Vectors, Block]:
        """The moments of Z and of every group's exact gradient Hx + b."""
        algebra, count = self.algebra, len(self.linear.crews)
        hessians = [algebra.of(crew.landscape.hessian) for crew in self.linear.crews]
        slopes = [crew.landscape.slope for crew in self.linear.crews]
        gradients = [self._gradient(crew, moments.mean[0]) for crew in self.linear.crews]
        size = self.blocks
        # Only of symmetric moments are these the moments of gradients: what rounding adds must not grow.
        inner = symmetric(algebra, moments.second)
        second = np.empty((size + count, size + count, *moments.second.shape[2:]))
        second[:size, :size] = inner
        for g, (hessian, slope) in enumerate(zip(hessians, slopes, strict=True)):
            across = algebra.left(hessian, inner[0])
            if np.any(slope):
                across = across + algebra.outer(slope, moments.mean)
            second[size + g, :size] = across
            second[:size, size + g] = algebra.transposed(across)
            for other in range(count):
                second[size + g, size + other] = algebra.right(across[0], hessians[other])
                if np.any(slopes[other]):
                    second[size + g, size + other] += algebra.outer(gradients[g], slopes[other])
        return np.concatenate([moments.mean, np.array(gradients)]), second


def _times(vector: np.ndarray, block: Block) -> Block:
    """vector vectorᵀ times one block."""
    return np.multiply.outer(np.outer(vector, vector), block)


def recursion(linear: Linear, eta: float) -> Recursion:
    """The recursion at a step."""
    return Recursion(linear, eta, tuple(crew.agent(eta) for crew in linear.crews))
