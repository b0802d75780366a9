"""The one description of a distributed problem: a landscape, and groups of equal agents."""

import inspect
from typing import TypeVar

import equinox as eqx
import numpy as np

from stablestep.compressor import Compressor, Identity
from stablestep.errors import InvalidInput, nearest, require
from stablestep.noise import Gaussian, Noise
from stablestep.problem import Mixture, Problem

T = TypeVar("T")


class Agents(eqx.Module):
    """A group of `count` equal agents.

    Args:
        count: number of agents, at least 1.
        noise: law of the gradient noise (default: none).
        compressor: what is sent; it names the method: Identity is DSGD, an unbiased compressor DCSGD, Sign DSignSGD.
        problem: the group's own landscape, where data differ between groups; f is then the average over all agents.
        mask: "own" if each agent draws its own compression randomness, "shared" if the group uses one.

    Raises:
        InvalidInput: if an argument is out of range.

    >>> Agents(16, noise=Gaussian(sigma1=0.1)).count
    16
    """

    count: int = eqx.field(static=True)
    noise: Noise
    compressor: Compressor
    problem: Problem | None
    mask: str = eqx.field(static=True)

    def __init__(self, count=1, noise=None, compressor=None, problem=None, mask="own"):
        require(
            np.ndim(count) == 0 and int(count) == count and count >= 1,
            f"count is {count}, but a group has at least one agent.",
        )
        self.count = int(count)
        self.noise = _instance("noise", noise, Noise, Gaussian())
        self.compressor = _instance("compressor", compressor, Compressor, Identity())
        self.problem = None if problem is None else _instance("problem", problem, Problem)
        require(mask in ("own", "shared"), f'mask is "{mask}", but must be "own" or "shared".')
        self.mask = mask

    @property
    def shared(self) -> bool:
        return self.mask == "shared"


def _instance(name: str, value: object, kind: type[T], default: T | None = None) -> T:
    if value is None and default is not None:
        return default
    if not isinstance(value, kind):
        raise InvalidInput(f"{name} is {_shown(value)}, but must be a {kind.__name__}{_example(kind, value)}.")
    return value


def _example(kind: type, value) -> str:
    return f", for example {kind.__name__.lower()}.{value.__name__}(…)" if isinstance(value, type) else ""


def _shown(value) -> str:
    """A value in one line of an error message."""
    line = " ".join(repr(value).split())
    return line if len(line) <= 80 else line[:80] + "…"


class Setup(eqx.Module):
    """A problem and the agents that work on it; simulation, SDE models and theorems all start here.

    The method is x ← x − η η_t · (mean message of all agents), with t = kη.

    Raises:
        InvalidInput: if there are no agents, dimensions differ, or a noise or compressor does not fit the problem.

    >>> from stablestep.problem import Quartic
    >>> setup = Setup(Quartic(dim=10), Agents(3), Agents(1, noise=Gaussian(sigma0=1.0)))
    >>> setup.count, setup.dim, setup.bits
    (4, 10, 1280.0)
    """

    base: Problem | None
    groups: tuple[Agents, ...]
    problem: Problem

    def __init__(self, problem: Problem | None, *groups: Agents):
        require(
            problem is None or isinstance(problem, Problem),
            f"problem is {_shown(problem)}, but must be a Problem, such as problem.Quartic(dim=10).",
        )
        require(len(groups) > 0, "a Setup needs at least one group of agents, such as Agents(4).")
        for group in groups:
            require(
                isinstance(group, Agents),
                f"{_shown(group)} is not a group of agents; write Setup(problem, Agents(…), …).",
            )
        require(
            problem is not None or all(group.problem is not None for group in groups),
            "problem is None, but a group of agents has no problem of its own; give one or the other.",
        )
        self.base, self.groups = problem, groups
        self.problem = self._objective()
        for group in groups:
            group.noise.check(self.problem_of(group))
            group.compressor.check(self.dim)

    def problem_of(self, group: Agents) -> Problem:
        """The landscape that this group's gradients come from."""
        own = group.problem if group.problem is not None else self.base
        assert own is not None
        return own

    def _objective(self) -> Problem:
        own = [self.problem_of(group) for group in self.groups]
        require(
            len({problem.dim for problem in own}) == 1,
            f"problems of different dimensions: {[problem.dim for problem in own]}.",
        )
        if not self.differs:
            return own[0]
        return Mixture(own, [group.count / self.count for group in self.groups])

    @property
    def differs(self) -> bool:
        """Whether groups have landscapes (data) of their own."""
        return any(group.problem is not None for group in self.groups)

    @property
    def count(self) -> int:
        """N, the number of agents."""
        return sum(group.count for group in self.groups)

    @property
    def dim(self) -> int:
        return self.problem_of(self.groups[0]).dim

    @property
    def bits(self) -> float:
        """Expected bits that all agents together send in one iteration."""
        return sum(group.count * group.compressor.bits(self.dim, group.shared) for group in self.groups)


def vary(setup: Setup, name: str, value) -> Setup:
    """The setup with the parameter `name` (an argument of agents, noise, compressor or problem) set to `value` wherever it occurs.

    Raises:
        InvalidInput: if no part of the setup has such a parameter.

    >>> from stablestep.problem import Quartic
    >>> vary(Setup(Quartic(dim=4), Agents(3)), "count", 5).count
    5
    """
    known: set[str] = set()
    groups = tuple(_vary(group, name, value, known) for group in setup.groups)
    base = None if setup.base is None else _vary(setup.base, name, value, known)
    if name not in known:
        raise InvalidInput(f'nothing in the setup has a parameter "{name}". {nearest(name, known)}')
    return Setup(base, *groups)


def _vary(part: eqx.Module, name: str, value, known: set[str]):
    """Rebuild `part` through its constructor, so that every check applies to the new value."""
    arguments = parameters(part)
    known |= set(arguments)
    if name in arguments:
        return type(part)(**{**arguments, name: value})
    nested = {key: _vary(old, name, value, known) for key, old in arguments.items() if isinstance(old, eqx.Module)}
    return type(part)(**{**arguments, **nested}) if nested else part


def parameters(part: eqx.Module) -> dict:
    """The constructor arguments that give `part` again.

    >>> parameters(Gaussian(sigma0=1.0))
    {'sigma0': 1.0, 'sigma1': 0.0}
    """
    stored = getattr(type(part), "stored", {})
    names = inspect.signature(type(part)).parameters
    return {name: getattr(part, stored.get(name, name)) for name in names if hasattr(part, stored.get(name, name))}
