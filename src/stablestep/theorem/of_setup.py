"""The constants of a setup: read off its problem, its noise, its compressors and its memory."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from stablestep.compressor import EF21, Compressor, ErrorFeedback, LocalClip, Momentum
from stablestep.errors import InvalidInput, at_least_zero, flag, instance, numbers, require, shown
from stablestep.problem import Problem
from stablestep.problem.base import require_above_minimum
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from stablestep.theorem.apart import dissimilarity_of
from stablestep.theorem.constants import EXAMPLE, Constants


def constants(
    setup: Setup,
    L1: float | None = None,
    gradient_norm: float | None = None,
    x0=None,
    dissimilarity: tuple[float, float] | None = None,
    normalized: bool = False,
) -> Constants:
    """The constants of `setup`, with the smallest L0 for the given L1, and what it remembers: β of a HeavyBall server, α of error feedback.

    Args:
        L1: which pair of the problem's curve to use.
        gradient_norm: or: the pair that is best at this gradient norm.
        x0: a number or a vector; f(x0) − f* is then the initial gap, where the minimum is known.
        dissimilarity: (𝔅², ζ²) of clients that have data of their own, where it is not known (affine gradients have theirs);
            `estimate.dissimilarity` measures it.
        normalized: whether the steps are divided by the norm of the direction, which is a matter of the schedule.

    Raises:
        InvalidInput: if neither L1 nor gradient_norm is given, no pair is known, a compressor is biased and neither the sign nor in error
            feedback, signs and unbiased compressors are mixed, a noise has no finite variance (for signs: no known Student-t scale),
            or groups have data of their own of unknown dissimilarity.

    >>> from stablestep.problem import Quartic
    >>> from stablestep.setup import Agents
    >>> constants(Setup(Quartic(dim=10), Agents(2)), L1=2.0).L0
    1.0
    >>> from stablestep.server import HeavyBall
    >>> found = constants(Setup(Quartic(dim=10), Agents(2), server=HeavyBall(beta=0.75)), L1=2.0)
    >>> found.memory, found.beta, found.speed
    ('HeavyBall', 0.75, 4.0)
    """
    instance("setup", setup, Setup, "Setup(problem, Agents(4))")
    require((L1 is None) != (gradient_norm is None), "give either L1 or gradient_norm, to choose the pair (L0, L1).")
    signs = sends_signs(setup)
    return Constants(
        **_smoothness(setup, L1, gradient_norm),
        **_clients(setup, dissimilarity),
        **_memory(setup, flag("normalized", normalized)),
        **_messages(setup),
        initial_gap=_gap(setup, x0),
        **(_scales(setup) if signs else _variances(setup, normalized)),
    )


def sends_signs(setup: Setup) -> bool:
    """Whether messages are signs; raises `InvalidInput` where groups mix signs with others."""
    signs = {_inmost(group.compressor).is_sign for group in setup.groups}
    require(len(signs) == 1, "groups mix signs and unbiased messages, for which no theorem is stated; use one of them.")
    return signs.pop()


def without_noise(setup: Setup, normalized: bool = False) -> dict[str, Any]:
    """The constants that no estimate can give: what a setup sends, and what it remembers.

    Raises:
        InvalidInput: for a compressor that no theorem knows.
    """
    return _messages(setup) | _memory(setup, normalized)


def described(c: Constants, setup: Setup, normalized: bool = False) -> Constants:
    """Constants given by hand or by estimates, with the memory of the setup that they are used for.

    Raises:
        InvalidInput: if they are of another number of agents or coordinates, or of another memory.
    """
    instance("setup", setup, Setup, "Setup(problem, Agents(4))")
    instance("constants", c, Constants, EXAMPLE)
    for name, given, own in (("count", c.agents, setup.count), ("dim", c.dim, setup.dim)):
        require(
            given == own, f"constants have {name} = {given}, but the setup has {own}; give constants of this setup."
        )
    memory = _memory(setup, normalized)
    for name, own in memory.items():
        given = getattr(c, name)
        blank = given == Constants.__dataclass_fields__[name].default
        require(
            blank or given == own,
            f"constants have {name} = {given}, but the setup has {own}; leave it out of the constants, or change the setup.",
        )
    feeding = {"omega": 0.0} if memory.get("alpha") is not None else {}
    return replace(c, **memory, **feeding)


def constants_at(
    setup: Setup, gradient_norm: float, L1: float | None, given: Constants | None, normalized: bool = False, x0=None
) -> Constants:
    """The constants to ask results with at a gradient norm: those given, with the setup's memory, else the setup's own.

    Raises:
        InvalidInput: where L1 and constants are both given, constants are none of this setup, or no theorem knows it.
    """
    if given is not None:
        require(L1 is None, f"L1 is {shown(L1)}, but constants hold an L1 of their own; give one or the other.")
        return described(given, setup, normalized)
    pair: dict[str, Any] = {"gradient_norm": gradient_norm} if L1 is None else {"L1": L1}
    return constants(setup, x0=x0, normalized=normalized, **pair)


def _smoothness(setup: Setup, L1: float | None, gradient_norm: float | None) -> dict[str, Any]:
    """The pair of f; where clients differ, one of every f_i, and that of f if it is known."""
    own = [setup.problem_of(group) for group in setup.groups]
    if not setup.differs or _alike(own):
        chosen = _best(own[:1], gradient_norm) if L1 is None else at_least_zero("L1", L1)
        return {"L0": own[0].smoothness(chosen), "L1": chosen}
    chosen = _best(own, gradient_norm) if L1 is None else at_least_zero("L1", L1)
    pair: dict[str, Any] = {"L0": max(one.smoothness(chosen) for one in own), "L1": chosen}
    try:
        return pair | {"mean_smoothness": (setup.problem.smoothness(chosen), chosen)}
    except InvalidInput:
        return pair


def _best(problems: list[Problem], gradient_norm: float | None) -> float:
    norm = at_least_zero("gradient_norm", gradient_norm)
    return max(problem.best_L1(norm) for problem in problems)


def _alike(problems: list[Problem]) -> bool:
    return all(bool(eqx.tree_equal(problems[0], other)) for other in problems[1:])


def _clients(setup: Setup, given: tuple[float, float] | None) -> dict[str, Any]:
    own = [setup.problem_of(group) for group in setup.groups]
    if given is not None or not setup.differs or _alike(own):
        return {"dissimilarity": given}
    split = [
        group
        for group in setup.groups
        if group.mask == "shared" and _share(group) and not group.compressor.deterministic
    ]
    require(
        not split,
        'groups of data of their own have mask="shared", each its own mask, for which no theorem is stated; use mask="own".',
    )
    return {"dissimilarity": dissimilarity_of(own, [group.count / setup.count for group in setup.groups])}


def _gap(setup: Setup, x0) -> float | None:
    if x0 is None or setup.problem.minimum is None:
        return None
    given = numbers("x0", x0)
    require(
        given.shape in ((), (setup.dim,)),
        f"x0 has shape {given.shape}, but must be a number or a vector of length {setup.dim}.",
    )
    with jax.enable_x64(True):
        point = jnp.asarray(np.broadcast_to(given, (setup.dim,)))
        value = float(setup.problem.value(point))
    require_above_minimum(setup.problem, value)
    return max(0.0, value - setup.problem.minimum)


def _memory(setup: Setup, normalized: bool) -> dict[str, Any]:
    """The memories by name, what the theorems know of them, local clipping, and how much faster than its step the method moves."""
    server, groups = setup.server, setup.groups
    names = dict.fromkeys([_of_agents(group.compressor) for group in groups])
    own = [name or "nothing in other groups" for name in names] if len(names) > 1 else [name for name in names if name]
    remembered = [_of_server(server)] * (not server.plain) + own
    found: dict[str, Any] = {"memory": " and ".join(remembered) or None, "normalized": normalized}
    if isinstance(server, HeavyBall):
        found["beta"] = server.beta
        found["speed"] = 1.0 if server.average or normalized else 1 / (1 - server.beta)
    feedback = [group.compressor.inner for group in groups if isinstance(group.compressor, (ErrorFeedback, EF21))]
    if len(feedback) == len(groups):
        found["alpha"] = min(inner.contraction(setup.dim) for inner in feedback)
        found["alpha_surely"] = all(inner.deterministic for inner in feedback)
    clips = {group.compressor.threshold if isinstance(group.compressor, LocalClip) else None for group in groups}
    require(len(clips) == 1, f"groups clip at different thresholds, {clips}, for which no theorem is stated; use one.")
    return found | {"clip": clips.pop()}


def _of_server(server) -> str:
    if not isinstance(server, HeavyBall):
        return server.name
    return "Nesterov" if server.nesterov else "warm HeavyBall" if server.warm else "HeavyBall"


def _of_agents(compressor: Compressor) -> str | None:
    """Wrappers by name, from the outside in; None where nothing remembers."""
    if not compressor.remembers:
        return None
    if isinstance(compressor, (ErrorFeedback, EF21, Momentum, LocalClip)):
        return " of ".join([compressor.name, *filter(None, [_of_agents(compressor.inner)])])
    return compressor.name


def _inmost(compressor: Compressor) -> Compressor:
    """What is in wrappers that keep a message's kind: signs of an average, or of a clipped gradient, are signs."""
    while isinstance(compressor, (Momentum, LocalClip)):
        compressor = compressor.inner
    return compressor


def _variances(setup: Setup, normalized: bool) -> dict[str, Any]:
    variances = [group.noise.affine_variance(setup.dim) for group in setup.groups]
    counts = [group.count for group in setup.groups]
    found = {
        "sigma0_sq": np.repeat([variance[0] for variance in variances], counts),
        "sigma1_sq": np.repeat([variance[1] for variance in variances], counts),
    }
    return found | (_shape(setup) if normalized else {})


def _share(group: Agents) -> bool:
    """Whether one mask serves several agents; a "shared" one of a single agent is its own."""
    return group.mask == "common" or (group.mask == "shared" and group.count > 1)


def _messages(setup: Setup) -> dict[str, Any]:
    """d, N, and of messages that are no signs every agent's ω."""
    size = {"dim": setup.dim, "count": setup.count}
    if sends_signs(setup):
        return size
    masks = {_share(group) for group in setup.groups if not group.compressor.deterministic}
    require(
        len(masks) <= 1, 'groups mix mask="own" and mask="shared", for which no theorem is stated; use one of them.'
    )
    plain = [_inmost(group.compressor) for group in setup.groups]
    omegas = [0.0 if isinstance(one, (ErrorFeedback, EF21)) else one.omega(setup.dim) for one in plain]
    return size | {
        "omega": np.repeat(omegas, [group.count for group in setup.groups]),
        "shared_mask": masks == {True} and any(omegas),
        "masks": all(one.linear for one in plain if not isinstance(one, (ErrorFeedback, EF21))),
    }


def _shape(setup: Setup) -> dict[str, Any]:
    """The law of the noise, which normalized steps ask for; nothing where it is not of a fixed scale."""
    try:
        return _scales(setup)
    except InvalidInput:
        return {}


def _scales(setup: Setup) -> dict[str, Any]:
    known = [group.noise.student_scale() for group in setup.groups]
    counts = [group.count for group in setup.groups]
    tails = {nu for nu, _, high in known if high > 0}
    require(
        len(tails) <= 1,
        f"groups have different tails, nu = {sorted(tails)}, but the theorems assume one; give all agents the same df.",
    )
    return {
        "nu": tails.pop() if tails else np.inf,
        "scale_min": np.repeat([low for _, low, _ in known], counts),
        "scale_max": np.repeat([high for _, _, high in known], counts),
    }
