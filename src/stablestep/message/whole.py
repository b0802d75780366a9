"""The mean message of all groups together, and the choice between exact laws and agent-by-agent sampling."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, Key

from stablestep.compressor import Compressor
from stablestep.errors import InvalidInput, require
from stablestep.message.part import AgentByAgent, Part, exact_law
from stablestep.setup import Agents, Setup
from stablestep.stream import Stream

Vector = Float[Array, " d"]
_GROUP = 3


class Law(eqx.Module):
    """The law of M(x) = (1/N) Σ_i C_i(g_i(x)), the mean message of all N agents.

    `sample` never uses `mean` or `covariance`, nor the reverse, so that each checks the other.
    """

    parts: tuple[Part, ...]
    weights: tuple[float, ...] = eqx.field(static=True)
    differs: bool = eqx.field(static=True)

    @property
    def methods(self) -> tuple[str, ...]:
        """For each group, "law" if its cost does not depend on the number of agents, else "agents"."""
        return tuple("agents" if part.by_agents else "law" for part in self.parts)

    def gradients(self, x: Vector) -> tuple[Vector, tuple[Vector, ...]]:
        """∇f(x), and the exact gradient each group's agents see."""
        if not self.differs:
            gradient = self.parts[0].problem.gradient(x)
            return gradient, (gradient,) * len(self.parts)
        own = tuple(part.problem.gradient(x) for part in self.parts)
        return self._weighted(own), own

    def draw(self, stream: Stream, x: Vector) -> tuple[Vector, Vector, Float[Array, ""]]:
        """∇f(x), a mean message, and the mean of the agents' own gradient norms (NaN unless sampled agent by agent)."""
        gradient, own = self.gradients(x)
        streams = [stream] if len(self.parts) == 1 else [stream.child(i, tag=_GROUP) for i in range(len(self.parts))]
        drawn = [part.draw(s, x, g) for part, s, g in zip(self.parts, streams, own, strict=True)]
        return gradient, self._weighted([message for message, _ in drawn]), self._weighted([norm for _, norm in drawn])

    def sample(self, key: Key[Array, ""], x: Vector) -> Vector:
        """One mean message at x."""
        return self.draw(Stream.of(key), jnp.asarray(x))[1]

    def mean(self, x: Vector, samples: int | None = None, key: Key[Array, ""] | None = None) -> Vector:
        """E M(x), exactly; or the mean of `samples` draws.

        Raises:
            InvalidInput: where the mean does not exist, or has no closed form and `samples` is not given.
        """
        x = jnp.asarray(x)
        if samples is not None:
            return jnp.mean(self._samples(x, samples, key), axis=0)
        _, own = self.gradients(x)
        return self._weighted([part.mean(x, g) for part, g in zip(self.parts, own, strict=True)])

    def secant(self, x: Vector) -> Vector:
        """For each coordinate E M_j(x) / ∂_j f(x), and its limit at 0 (theory of the loss-matching drift).

        Raises:
            InvalidInput: if the messages are biased and groups have landscapes of their own: the mean is then no function of ∇f.
        """
        if all(part.compressor.unbiased for part in self.parts):
            return jnp.ones_like(x)
        require(
            not self.differs,
            "with biased messages and data that differ between groups the mean message is no function of ∇f.",
        )
        gradient, _ = self.gradients(x)
        return self._weighted([part.secant(gradient) for part in self.parts])

    def covariance(
        self, x: Vector, samples: int | None = None, key: Key[Array, ""] | None = None
    ) -> lx.AbstractLinearOperator:
        """Cov M(x), of the mean message (1/N included), exactly; or the sample covariance of `samples` draws.

        Raises:
            InvalidInput: where it is infinite, or has no closed form and `samples` is not given.
        """
        x = jnp.asarray(x)
        if samples is not None:
            matrix = jnp.atleast_2d(jnp.cov(self._samples(x, samples, key), rowvar=False))
            return lx.MatrixLinearOperator(matrix, lx.positive_semidefinite_tag)
        _, own = self.gradients(x)
        operators = [part.covariance(x, g) * w**2 for part, g, w in zip(self.parts, own, self.weights, strict=True)]
        if all(lx.is_diagonal(operator) for operator in operators):
            return lx.DiagonalLinearOperator(self._total([lx.diagonal(operator) for operator in operators]))
        return self._total(operators)

    def _samples(self, x: Vector, samples: int, key) -> Float[Array, "samples d"]:
        require(samples >= 2, f"samples is {samples}, but at least 2 draws are needed.")
        require(key is not None, "samples is given without a key; pass key=jax.random.key(seed).")
        return jax.jit(jax.vmap(lambda k: self.sample(k, x)))(jax.random.split(key, samples))

    def _weighted(self, values):
        return self._total([value * weight for value, weight in zip(values, self.weights, strict=True)])

    @staticmethod
    def _total(values):
        total = values[0]
        for value in values[1:]:
            total = total + value
        return total


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
    require(sampling in ("auto", "law", "agents"), f'sampling is "{sampling}", but must be "auto", "law" or "agents".')
    parts = tuple(_part(setup, group, sampling) for group in setup.groups)
    return Law(parts, tuple(group.count / setup.count for group in setup.groups), setup.differs)


def _part(setup: Setup, group: Agents, sampling: str) -> Part:
    problem = setup.problem_of(group)
    exact = exact_law(problem, group.noise, group.compressor, group.count, group.shared)
    if sampling == "law" and exact is None:
        raise InvalidInput(
            f"sampling='law', but {_name(group.compressor)} messages under {type(group.noise).__name__} noise have no known law; "
            "use sampling='agents' or 'auto'."
        )
    if exact is None or sampling == "agents":
        return AgentByAgent(problem, group.noise, group.compressor, group.count, group.shared, group.noise.is_zero)
    return exact


def _name(compressor: Compressor) -> str:
    return type(compressor).__name__
