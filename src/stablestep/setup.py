"""The one description of a distributed problem: a landscape, groups of equal agents, and a server."""

from typing import Any, ClassVar

import equinox as eqx

from stablestep.compressor import Compressor, Identity
from stablestep.described import Described
from stablestep.errors import InvalidInput, instance, one_of, require, shown, whole
from stablestep.noise import Gaussian, Noise
from stablestep.problem import Mixture, Problem
from stablestep.server import Plain, Server

MASKS = ("own", "shared", "common")


class Agents(Described):
    """A group of `count` equal agents.

    Args:
        count: number of agents, at least 1.
        noise: law of the gradient noise (default: none).
        compressor: what is sent; it names the method: Identity is DSGD, an unbiased compressor DCSGD, Sign DSignSGD, a wrapper such as
            ErrorFeedback(TopK(k=1)) a method with memory.
        problem: the group's own landscape, where data differ between groups; f is then the average over all agents.
        mask: "own" if each agent draws its own compression randomness, "shared" if the group uses one, "common" if all groups use the same
            one (they must have the same compressor): for clients with data of their own, one group each.

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
    usual: ClassVar[dict[str, Any]] = {"noise": Gaussian(), "compressor": Identity()}

    def __init__(
        self,
        count: int = 1,
        noise: Noise | None = None,
        compressor: Compressor | None = None,
        problem: Problem | None = None,
        mask: str = "own",
    ):
        self.count = whole("count", count, most=10**7, hint=" in a group")
        self.noise = instance(
            "noise", self.usual["noise"] if noise is None else noise, Noise, "noise.Gaussian(sigma0=1)"
        )
        chosen = self.usual["compressor"] if compressor is None else compressor
        self.compressor = instance("compressor", chosen, Compressor, "compressor.RandK(k=1)")
        self.problem = None if problem is None else instance("problem", problem, Problem, _example(problem))
        self.mask = one_of("mask", mask, MASKS)

    @property
    def shared(self) -> bool:
        """Whether one compression randomness serves the group."""
        return self.mask != "own"


class Setup(Described):
    """A problem, the agents that work on it, and their server; simulation, SDE models and theorems all start here.

    The method is x ← x − ηη_t · (what the server makes of the mean message of all agents), with t = kη.

    Args:
        problem: f; None where every group has its own.
        groups: one `Agents` or more.
        server: Plain (the default), HeavyBall or Majority.

    Raises:
        InvalidInput: if there are no agents, dimensions differ, or a noise, compressor or server does not fit.

    >>> from stablestep.problem import Quartic
    >>> setup = Setup(Quartic(dim=10), Agents(3), Agents(1, noise=Gaussian(sigma0=1.0)))
    >>> setup.count, setup.dim, setup.bits
    (4, 10, 1280.0)
    """

    base: Problem | None
    groups: tuple[Agents, ...]
    server: Server
    problem: Problem
    stored: ClassVar[dict[str, str]] = {"problem": "base"}  # the problem itself is f, which may be a mixture
    usual: ClassVar[dict[str, Any]] = {"server": Plain()}

    def __init__(self, problem: Problem | None, *groups: Agents, server: Server | None = None):
        if problem is not None:
            instance("problem", problem, Problem, _example(problem))
        require(len(groups) > 0, "a Setup needs at least one group of agents, such as Agents(4).")
        for group in groups:
            if not isinstance(group, Agents):  # shown only then: a sweep makes thousands of setups
                raise InvalidInput(f"{shown(group)} is not a group of agents; write Setup(problem, Agents(…), …).")
        require(
            problem is not None or all(group.problem is not None for group in groups),
            "problem is None, but a group of agents has no problem of its own; give one or the other.",
        )
        self.base, self.groups = problem, groups
        chosen = self.usual["server"] if server is None else server
        self.server = instance("server", chosen, Server, "server.HeavyBall(beta=0.9)")
        self.problem = self._objective()
        for group in groups:
            group.noise.check(self.problem_of(group))
            group.compressor.check(self.dim)
            _check_server(self.server, group.compressor)
        _check_common(groups)

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
        """d."""
        return self.problem_of(self.groups[0]).dim

    @property
    def common(self) -> bool:
        """Whether one compression randomness serves all groups."""
        return self.groups[0].mask == "common"

    @property
    def bits(self) -> float:
        """Expected bits that all agents together send in one iteration."""
        return sum(group.count * group.compressor.bits(self.dim, group.shared) for group in self.groups)

    @property
    def masks(self) -> int | None:
        """How many masks there are at a time, if each serves as many agents; None where some serve more than others.

        >>> from stablestep.problem import Quartic
        >>> [Setup(Quartic(2), Agents(4, mask=mask), Agents(4, mask=mask)).masks for mask in ("own", "shared", "common")]
        [8, 2, 1]
        """
        if self.common:
            return 1
        served = {group.count if group.shared else 1 for group in self.groups}
        return self.count // served.pop() if len(served) == 1 else None

    @property
    def memory(self) -> str | None:
        """What makes the direction more than the mean message of the present point: the server or a compressor by name, or None."""
        if not self.server.plain:
            return self.server.name
        return next((group.compressor.name for group in self.groups if group.compressor.remembers), None)

    def require_memoryless(self, what: str) -> None:
        """Raise `InvalidInput` for a view (`what`) that knows no memory yet, if there is one."""
        require(
            self.memory is None,
            f"{what} does not know {self.memory} yet; simulate the method, or find its critical step by "
            'method="rollouts" or "simulation".',
        )


def _example(given: object) -> str:
    """A problem like what was given in its place: a function is the objective itself."""
    function = callable(given) and not isinstance(given, type)
    return "problem.Function(f, dim) of it" if function else "problem.Quartic(dim=10)"


def _check_common(groups: tuple[Agents, ...]) -> None:
    if all(group.mask != "common" for group in groups):
        return
    alike = all(group.mask == "common" and eqx.tree_equal(group.compressor, groups[0].compressor) for group in groups)
    require(
        alike,
        'mask="common" is one randomness for all groups, but they have other masks or compressors; give every group mask="common" '
        "and the same compressor.",
    )


def _check_server(server: Server, compressor: Compressor) -> None:
    require(
        not server.needs_signs or compressor.sends_signs,
        f"{server.name} votes on signs, but {compressor.name} sends other messages; use compressor.Sign(), or another server.",
    )
    require(
        not server.needs_unbiased or compressor.unbiased,
        f"{server.name} with warm=True starts from the gradient, but the mean of {compressor.name} messages is another; "
        "leave warm out.",
    )
