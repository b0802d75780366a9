"""The mean message of all groups together, and the choice between exact laws and agent-by-agent sampling."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, Key
from numpy.typing import ArrayLike

from stablestep.errors import InvalidInput, instance, one_of, require, whole
from stablestep.message.exact import exact_law
from stablestep.message.given import covariance_given, mean_given
from stablestep.message.group import AgentByAgent, GroupLaw, Memory, Remembering
from stablestep.setup import Agents, Setup
from stablestep.stream import Family, Lane, Stream

Vector = Float[Array, " d"]
Scalar = Float[Array, ""]
SAMPLINGS = ("auto", "law", "agents")


class Drawn(NamedTuple):
    """∇f(x), a mean message, the mean of the agents' own gradient norms (NaN unless sampled agent by agent), and each group's memory."""

    gradient: Vector
    message: Vector
    local_norm: Scalar
    memory: tuple[Memory, ...]


class CommonMask(eqx.Module):
    """The stream of one group, whose mask lane is that of all groups."""

    own: Stream
    all: Stream

    @property
    def noise(self) -> Lane:
        return self.own.noise

    @property
    def mask(self) -> Lane:
        return self.all.mask

    @property
    def keys(self) -> tuple[Any, Any]:
        return self.own.keys

    def child(self, index, family: Family) -> Stream:
        return self.own.child(index, family)


class Law(eqx.Module):
    """The law of M(x) = (1/N) Σ_i C_i(g_i(x)), the mean message of all N agents.

    `sample` never uses `mean` or `covariance`, nor the reverse, so that each checks the other.
    """

    groups: tuple[GroupLaw, ...]
    weights: tuple[float, ...] = eqx.field(static=True)
    differs: bool = eqx.field(static=True)
    common: bool = eqx.field(static=True)

    @property
    def methods(self) -> tuple[str, ...]:
        """For each group, "law" if its cost does not depend on the number of agents ("native" where C++ draws it), else "agents"."""
        return tuple(group.method for group in self.groups)

    def methods_in(self, dtype: str) -> tuple[str, ...]:
        """`methods` for numbers of this type: C++ draws float32 only."""
        return tuple("law" if one == "native" and dtype != "float32" else one for one in self.methods)

    def gradients(self, x: Vector) -> tuple[Vector, tuple[Vector, ...]]:
        """∇f(x), and the exact gradient each group's agents see."""
        if not self.differs:
            gradient = _with_constant(self.groups[0].problem.gradient(x))
            return gradient, (gradient,) * len(self.groups)
        own = tuple(_with_constant(group.problem.gradient(x)) for group in self.groups)
        return self._weighted(own), own

    @property
    def remembers(self) -> bool:
        """Whether a message depends on earlier ones."""
        return any(group.compressor.remembers for group in self.groups)

    @property
    def needs_step(self) -> bool:
        """Whether a message depends on the step."""
        return any(group.compressor.needs_step for group in self.groups)

    def draw(self, stream: Stream, x: Vector) -> tuple[Vector, Vector, Scalar]:
        """∇f(x), a mean message, and the mean of the agents' own gradient norms (NaN unless sampled agent by agent).

        Raises:
            InvalidInput: if agents remember.
        """
        for group in self.groups:
            group.require_memoryless("law")
        return self.advance(stream, x, ((),) * len(self.groups), lambda gradient: jnp.full((), jnp.nan, x.dtype))[:3]

    def begin(self, stream: Stream, x: Vector) -> tuple[Memory, ...]:
        """What the agents of each group remember before their first message, which `stream` will draw at x."""
        _, own = self.gradients(x)
        return tuple(group.begin(s, x, g) for group, s, g in zip(self.groups, self._streams(stream), own, strict=True))

    def advance(self, stream: Stream, x: Vector, memory: tuple[Memory, ...], step: Callable[[Vector], Scalar]) -> Drawn:
        """The mean message of agents that remember `memory`; `step` gives ηη_t at ∇f(x), for compressors that need it."""
        gradient, own = self.gradients(x)
        known = step(gradient)
        drawn = [
            group.advance(s, x, g, m, known)
            for group, s, g, m in zip(self.groups, self._streams(stream), own, memory, strict=True)
        ]
        messages, norms, after = zip(*drawn, strict=True)
        return Drawn(gradient, self._weighted(messages), self._weighted(norms), after)

    def _streams(self, stream: Stream) -> list[Any]:
        numbers = range(len(self.groups))
        if len(numbers) == 1:
            return [stream]
        own = [stream.child(number, Family.GROUP) for number in numbers]
        return [CommonMask(one, stream) for one in own] if self.common else own

    def sample(
        self, key: Key[Array, ""], x: ArrayLike, memory: tuple[Memory, ...] | None = None, step: float | None = None
    ) -> Vector:
        """One mean message at x, of agents that remember `memory` (`State.agents`); `step` = ηη_t where a compressor needs it.

        Raises:
            InvalidInput: if agents remember and `memory` is not given, or a compressor needs the step.
        """
        x = jnp.asarray(x)
        if memory is None:
            return self.draw(Stream.of(key), x)[1]
        known = self._known(step, x)
        return self.advance(Stream.of(key), x, memory, lambda gradient: known).message

    def _known(self, step: float | None, x: Vector) -> Scalar:
        require(
            step is not None or not self.needs_step,
            "messages of agents with the step inside their memory depend on it; give step=ηη_t.",
        )
        return jnp.asarray(jnp.nan if step is None else step, x.dtype)

    def mean(
        self,
        x: ArrayLike,
        samples: int | None = None,
        key: Key[Array, ""] | None = None,
        memory: tuple[Memory, ...] | None = None,
        step: float | None = None,
    ) -> Vector:
        """E M(x), exactly; or the mean of `samples` draws.

        Args:
            x: the point [d].
            samples: how many draws, of `key`.
            memory: what the agents remember (`State.agents`), to which the mean is conditioned.
            step: ηη_t, for agents with the step inside their memory.

        Raises:
            InvalidInput: where the mean does not exist, has no closed form and `samples` is not given, or depends on a memory or a step
                that is not given.
        """
        x = jnp.asarray(x)
        if samples is not None:
            return jnp.mean(self._samples(x, samples, key, memory, step), axis=0)
        known = jnp.full((), jnp.nan, x.dtype) if memory is None else self._known(step, x)
        _, own = self.gradients(x)
        return self._weighted(
            [
                mean_given(group, g, m, known) if jax.tree.leaves(m) else group.mean(x, g)
                for group, g, m in zip(self.groups, own, self._remembered(memory), strict=True)
            ]
        )

    def _remembered(self, memory: tuple[Memory, ...] | None) -> tuple[Memory, ...]:
        return ((),) * len(self.groups) if memory is None else memory

    def secant(self, x: Vector) -> Vector:
        """For each coordinate E M_j(x) / ∂_j f(x), and its limit at 0 (theory of the loss-matching drift).

        Raises:
            InvalidInput: if the messages are biased and groups have landscapes of their own: the mean is then no function of ∇f.
        """
        if all(group.compressor.unbiased for group in self.groups):
            return jnp.ones_like(x)
        require(
            not self.differs,
            "with biased messages and data that differ between groups the mean message is no function of ∇f.",
        )
        gradient, _ = self.gradients(x)
        return self._weighted([group.secant(gradient) for group in self.groups])

    def covariance(
        self,
        x: ArrayLike,
        samples: int | None = None,
        key: Key[Array, ""] | None = None,
        memory: tuple[Memory, ...] | None = None,
        step: float | None = None,
    ) -> lx.AbstractLinearOperator:
        """Cov M(x), of the mean message (1/N included), exactly; or the sample covariance of `samples` draws. Arguments as of `mean`.

        Raises:
            InvalidInput: where it is infinite, has no closed form and `samples` is not given, or depends on a memory or a step that is
                not given.
        """
        x = jnp.asarray(x)
        if samples is not None:
            matrix = jnp.atleast_2d(jnp.cov(self._samples(x, samples, key, memory, step), rowvar=False))
            return lx.MatrixLinearOperator(matrix, lx.positive_semidefinite_tag)
        known = jnp.full((), jnp.nan, x.dtype) if memory is None else self._known(step, x)
        gradient, own = self.gradients(x)
        if self.common and len(self.groups) > 1:
            return self._common_covariance(x, gradient, own)
        operators = [
            (covariance_given(group, x, g, m, known) if jax.tree.leaves(m) else group.covariance(x, g)) * w**2
            for group, g, m, w in zip(self.groups, own, self._remembered(memory), self.weights, strict=True)
        ]
        if all(lx.is_diagonal(operator) for operator in operators):
            return lx.DiagonalLinearOperator(self._total([lx.diagonal(operator) for operator in operators]))
        return self._total(operators)

    def _common_covariance(self, x: Vector, gradient: Vector, own: tuple[Vector, ...]) -> lx.AbstractLinearOperator:
        """That of C(G), G the mean of all agents' stochastic gradients: one linear map of all."""
        first = self.groups[0].compressor
        if first.remembers or not first.linear:
            raise first.no_covariance("with common randomness")
        both = zip(self.groups, own, self.weights, strict=True)
        parts = [g.noise.covariance(g.problem, x, at) * (w**2 / g.count) for g, at, w in both if not g.silent]
        diagonal = all(lx.is_diagonal(part) for part in parts)
        noise = self._total(parts) if parts and not diagonal else None
        if parts and diagonal:
            noise = lx.DiagonalLinearOperator(self._total([lx.diagonal(part) for part in parts]))
        return first.covariance(gradient, noise)

    def _samples(self, x: Vector, samples: int, key, memory=None, step=None) -> Float[Array, "samples d"]:
        whole("samples", samples, least=2)
        require(key is not None, "samples is given without a key; pass key=jax.random.key(seed).")
        return jax.jit(jax.vmap(lambda k: self.sample(k, x, memory, step)))(jax.random.split(key, samples))

    def _weighted(self, values):
        return self._total([value * weight for value, weight in zip(values, self.weights, strict=True)])

    @staticmethod
    def _total(values):
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total


def _with_constant(gradient: Vector) -> Vector:
    """The gradient as it is, from arithmetic that has a constant: jaxlib 0.10.2 compiles elementwise arithmetic without one to code that is
    twelve times slower. Bitwise the same, NaN and −∞ too."""
    return jnp.where(gradient >= jnp.finfo(gradient.dtype).min, gradient, 2 * gradient)


def law(setup: Setup, sampling: str = "auto") -> Law:
    """The law of the mean message of `setup`.

    Args:
        sampling: "auto" takes an exact law whose cost does not grow with the number of agents wherever one is known; "law" insists
            on it; "agents" samples agent by agent. All agree in distribution; `Law.methods` tells which is used.

    Raises:
        InvalidInput: if `sampling` is unknown, or is "law" where a group has none.

    >>> from stablestep.compressor import RandomSparsification
    >>> from stablestep.noise import Gaussian
    >>> from stablestep.problem import Quartic
    >>> setup = Setup(Quartic(dim=2), Agents(16, Gaussian(sigma1=0.1), RandomSparsification(omega=8.0)))
    >>> law(setup).methods
    ('law',)
    >>> law(setup).covariance(jnp.array([1.0, 0.0])).as_matrix()
    Array([[0.505625, 0.      ],
           [0.      , 0.005625]], dtype=float...)
    """
    instance("setup", setup, Setup, "Setup(problem, Agents(4))")
    one_of("sampling", sampling, SAMPLINGS)
    groups = tuple(_group_law(setup, group, sampling) for group in setup.groups)
    return Law(groups, tuple(group.count / setup.count for group in setup.groups), setup.differs, setup.common)


def _group_law(setup: Setup, group: Agents, sampling: str) -> GroupLaw:
    problem = setup.problem_of(group)
    exact = exact_law(problem, group.noise, group.compressor, group.count, group.shared)
    if sampling == "law" and exact is None:
        raise InvalidInput(
            f"sampling='law', but {group.compressor.name} messages under {type(group.noise).__name__} noise have no known law; "
            "use sampling='agents' or 'auto'."
        )
    if exact is not None and sampling != "agents":
        return exact
    kind = Remembering if group.compressor.remembers else AgentByAgent
    return kind(problem, group.noise, group.compressor, group.count, group.shared, group.noise.is_zero)
