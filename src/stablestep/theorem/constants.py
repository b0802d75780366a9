"""The constants that the theorems are stated in, by hand or read off a setup."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from stablestep.errors import InvalidInput, require
from stablestep.setup import Setup


def _at_least_zero(name: str, value) -> None:
    array = np.asarray(value, float)
    require(
        bool(np.all(array >= 0) and np.all(np.isfinite(array))),
        f"{name} is {value}, but must be finite and at least 0.",
    )


@dataclass(frozen=True)
class Constants:
    """Smoothness (L0, L1), dimension d, and each agent's variance (σ0², σ1²) and compression ω (P Defs. 3.1-3.3).

    Args:
        L0, L1: ‖∇²f‖ ≤ L0 + L1‖∇f‖ in the spectral norm.
        dim: d.
        omega, sigma0_sq, sigma1_sq: a number for all agents, or a list with one for each agent.
        count: number of agents N; by default the length of the lists, or 1.
        shared_mask: whether one mask serves all agents; the compression noise is then not averaged.

    Raises:
        InvalidInput: if a constant is negative, or lists have different lengths.

    >>> c = Constants(L0=1, L1=0.5, dim=10, omega=[4, 8], sigma0_sq=[0.1, 0.2], sigma1_sq=[0.01, 0.02])
    >>> round(c.A, 10), round(c.B, 10)
    (7.15, 11.5)
    """

    L0: float
    L1: float
    dim: int
    omega: float | Float[np.ndarray, " n"] = 0.0
    sigma0_sq: float | Float[np.ndarray, " n"] = 0.0
    sigma1_sq: float | Float[np.ndarray, " n"] = 0.0
    count: int | None = None
    shared_mask: bool = False
    _lists: tuple[str, ...] = field(default=("omega", "sigma0_sq", "sigma1_sq"), repr=False)

    def __post_init__(self):
        for name in ("L0", "L1", *self._lists):
            _at_least_zero(name, getattr(self, name))
        require(self.dim >= 1, f"dim is {self.dim}, but must be at least 1.")
        lengths = {name: np.size(getattr(self, name)) for name in self._lists if np.ndim(getattr(self, name))}
        expected = self.count if self.count is not None else max(lengths.values(), default=1)
        for name, length in lengths.items():
            require(
                length == expected,
                f"{name} has {length} entries, but there are {expected} agents; give one number or {expected}.",
            )
        object.__setattr__(self, "count", expected)
        for name in self._lists:
            object.__setattr__(self, name, np.broadcast_to(np.asarray(getattr(self, name), float), (expected,)))

    @property
    def agents(self) -> int:
        """N."""
        assert self.count is not None
        return self.count

    @property
    def A(self) -> float:
        """ω̄ + d (mean σ1²ω + mean σ1²); with a shared mask the first term is N ω̄ (only the gradient noise averages)."""
        compression = float(np.mean(self.omega)) * (self.agents if self.shared_mask else 1)
        return compression + self.dim * float(np.mean(self.sigma1_sq * (1 + self.omega)))

    @property
    def B(self) -> float:
        """d (mean σ0² + mean σ0²ω)."""
        return self.dim * float(np.mean(self.sigma0_sq * (1 + self.omega)))


def constants(setup: Setup, L1: float | None = None, gradient_norm: float | None = None) -> Constants:
    """The constants of `setup`, with the smallest L0 for the given L1.

    Args:
        L1: which pair of the problem's curve to use.
        gradient_norm: or: the pair that is best at this gradient norm.

    Raises:
        InvalidInput: if neither is given, no pair is known, a compressor is biased, a noise has no finite variance, or groups
            have data of their own (the theorems assume that all agents share f).

    >>> from stablestep.problem import Quartic
    >>> from stablestep.setup import Agents
    >>> constants(Setup(Quartic(dim=10), Agents(2)), L1=2.0).L0
    1.0
    """
    require((L1 is None) != (gradient_norm is None), "give either L1 or gradient_norm, to choose the pair (L0, L1).")
    if setup.differs:
        raise InvalidInput(
            "groups have problems of their own, but the theorems assume that all agents share f; use one problem."
        )
    chosen = setup.problem.best_L1(gradient_norm) if gradient_norm is not None else float(L1 or 0.0)
    variances = [group.noise.affine_variance(setup.dim) for group in setup.groups]
    counts = [group.count for group in setup.groups]
    masks = {group.mask for group in setup.groups if not group.compressor.deterministic}
    require(
        len(masks) <= 1, 'groups mix mask="own" and mask="shared", for which no theorem is stated; use one of them.'
    )
    return Constants(
        L0=setup.problem.smoothness(chosen),
        L1=chosen,
        dim=setup.dim,
        omega=np.repeat([group.compressor.omega(setup.dim) for group in setup.groups], counts),
        sigma0_sq=np.repeat([variance[0] for variance in variances], counts),
        sigma1_sq=np.repeat([variance[1] for variance in variances], counts),
        shared_mask=masks == {"shared"},
    )
