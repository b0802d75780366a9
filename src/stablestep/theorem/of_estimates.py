"""Constants from what `estimate` measures of a real run."""

from typing import Any

from stablestep.errors import InvalidInput, instance, one_of, require
from stablestep.setup import Setup
from stablestep.theorem.constants import Constants
from stablestep.theorem.of_setup import without_noise

ENDS = ("value", "high")


def constants_from(
    smoothness: Any,
    variance: Any = None,
    *,
    dissimilarity: Any = None,
    tail: Any = None,
    end: str = "value",
    setup: Setup | None = None,
    **known,
) -> Constants:
    """The constants of estimates: (L0, L1) of `estimate.smoothness`, σ0² and σ1² of `estimate.affine_variance`, …

    Args:
        smoothness: has `L0` and `L1`.
        variance: has `sigma0_sq` and `sigma1_sq`; no noise without it.
        dissimilarity: has `B2` and `zeta2`, of `estimate.dissimilarity`.
        tail: has `nu`, of `estimate.tail`, for signs; scale_max is then among `known`.
        end: "value", or "high" for the cautious end of every interval (of ν the low one).
        setup: whose messages and memory they are for: fills in dim, count, omega, beta, alpha, …
        known: the other arguments of `Constants`: dim, count, omega, beta, alpha, …

    Raises:
        InvalidInput: where what is given is no such estimate, or has no interval and its cautious end is asked for, or no theorem knows
            the messages.

    >>> from stablestep.estimate import affine_variance, smoothness
    >>> smooth = smoothness([0.0, 1.0, 2.0, 3.0], [1.0, 3.0, 4.0, 7.0])
    >>> spread = affine_variance([1.0, 2.0, 3.0, 4.0], [0.7, 0.9, 1.1, 1.3])
    >>> c = constants_from(smooth, spread, dim=10, count=4, omega=3.0)
    >>> round(c.L0, 9), round(c.L1, 9), round(c.B, 9)
    (1.0, 2.0, 20.0)
    """
    one_of("end", end, ENDS)
    if setup is not None:
        known = without_noise(instance("setup", setup, Setup, "Setup(problem, Agents(4))")) | known
    parts = {
        "smoothness": (smoothness, ("L0", "L1")),
        "variance": (variance, ("sigma0_sq", "sigma1_sq")),
        "dissimilarity": (dissimilarity, ("B2", "zeta2")),
        "tail": (tail, ("nu",)),
    }
    found: dict[str, Any] = {
        name: _number(part, given, name, end)
        for part, (given, names) in parts.items()
        if given is not None
        for name in names
    }
    if dissimilarity is not None:
        found["dissimilarity"] = (found.pop("B2"), found.pop("zeta2"))
    twice = sorted(found.keys() & known.keys())
    require(not twice, f"{', '.join(twice)} is given by an estimate and by hand; give one or the other.")
    return Constants(**found, **known)


def _number(part: str, given: Any, name: str, end: str) -> float:
    estimate = getattr(given, name, None)
    side = "low" if name == "nu" and end == "high" else end
    if not all(hasattr(estimate, wanted) for wanted in ("value", "low", "high")):
        raise InvalidInput(f"{part} has no {name} that is an estimate; give what estimate.{_MADE_BY[part]} returns.")
    require(
        name == "nu" or getattr(estimate, side) < float("inf"),
        f'{part} has no interval for {name} ({estimate}), so no cautious end; use more points, or end="value".',
    )
    return getattr(estimate, side)


_MADE_BY = {
    "smoothness": "smoothness(…)",
    "variance": "affine_variance(…)",
    "dissimilarity": "dissimilarity(…)",
    "tail": "tail(…)",
}
