"""The constants that the theorems are stated in, by hand or read off a setup."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stablestep.compressor import Sign
from stablestep.errors import InvalidInput, at_least_zero, instance, is_number, require, shown, whole
from stablestep.setup import Setup

Each = Any  # given as a number or a list, kept as an array [n]
_LISTS = ("omega", "sigma0_sq", "sigma1_sq", "scale_max", "scale_min")
_MOST = 10**18  # parameters, of the largest model there will be


@dataclass(frozen=True)
class Constants:
    """Smoothness (L0, L1), dimension d, and each agent's noise and compression (P Defs. 3.1-3.3).

    Args:
        L0, L1: ‖∇²f‖ ≤ L0 + L1‖∇f‖ in the spectral norm.
        dim: d.
        omega, sigma0_sq, sigma1_sq: compression ω and variance σ0² + σ1²‖∇f‖² of each coordinate: a number for all agents, or a list
            with one for each agent.
        count: number of agents N; by default the length of the lists, or 1.
        shared_mask: whether one mask serves all agents; the compression noise is then not averaged.
        nu: for signs, the degrees of freedom ν of the Student-t noise (∞ for Gaussian noise), the same for all agents.
        scale_max, scale_min: for signs, each agent's largest and smallest scale over the coordinates (smallest: the largest unless given).
        initial_gap: S0 = f(X0) − f*, where it is not given to `bound`.
        memory: what makes a message depend on the past, by name, such as "ErrorFeedback"; None where nothing does. Results that do not
            know it raise.

    Raises:
        InvalidInput: if a constant is negative or no number, or lists have different lengths.

    >>> c = Constants(L0=1, L1=0.5, dim=10, omega=[4, 8], sigma0_sq=[0.1, 0.2], sigma1_sq=[0.01, 0.02])
    >>> round(c.A, 10), round(c.B, 10), c.method
    (7.15, 11.5, 'DCSGD')
    """

    L0: float
    L1: float
    dim: int
    omega: Each = 0.0
    sigma0_sq: Each = 0.0
    sigma1_sq: Each = 0.0
    count: int | None = None
    shared_mask: bool = False
    nu: float | None = None
    scale_max: Each = None
    scale_min: Each = None
    initial_gap: float | None = None
    memory: str | None = None

    def __post_init__(self):
        if self.scale_min is None:
            self._set("scale_min", self.scale_max)
        self._check_numbers()
        lists = {name: _at_least_zero(name, getattr(self, name)) for name in _LISTS if getattr(self, name) is not None}
        self._set("count", _agents(self.count, lists))
        for name, value in lists.items():
            self._set(name, np.broadcast_to(value, (self.agents,)))
        low, high = self.scale_min, self.scale_max
        require(
            high is None or bool(np.all(low <= high)),
            f"scale_min is {low}, but cannot exceed scale_max, {high}.",
        )

    def _set(self, name: str, value) -> None:
        object.__setattr__(self, name, value)

    def _check_numbers(self) -> None:
        for name in ("L0", "L1"):
            at_least_zero(name, getattr(self, name))
        self._set("dim", whole("dim", self.dim, most=_MOST))
        instance("shared_mask", self.shared_mask, bool, "True")
        known = self.nu is None or (is_number(self.nu) and self.nu > 0)
        require(known, f"nu is {shown(self.nu)}, but degrees of freedom must be greater than 0.")
        require(
            (self.nu is None) == (self.scale_max is None),
            f"nu is {self.nu} and scale_max is {self.scale_max}, but Student-t noise needs both; give both or neither.",
        )
        if self.initial_gap is not None:
            at_least_zero("initial_gap", self.initial_gap)
        if self.memory is not None:
            instance("memory", self.memory, str, '"ErrorFeedback"')

    @property
    def signs(self) -> bool:
        """Whether the noise of DSignSGD is described: ν and scales."""
        return self.nu is not None

    @property
    def method(self) -> str:
        """The optimizer that these constants describe."""
        if self.signs:
            return "DSignSGD"
        return "DCSGD" if np.any(self.omega) else "DSGD"

    @property
    def tail(self) -> float:
        """ν, where the noise of DSignSGD is described."""
        assert self.nu is not None
        return self.nu

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


def _at_least_zero(name: str, value) -> np.ndarray:
    """A number or a list as an array."""
    array = np.asarray(value)
    fits = array.dtype.kind in "iuf" and array.ndim <= 1 and bool(np.all((array >= 0) & np.isfinite(array)))
    require(
        fits,
        f"{name} is {shown(value)}, but must be finite and at least 0: a number, or a list with one for each agent.",
    )
    return array.astype(float)


def _agents(count, lists: dict[str, np.ndarray]) -> int:
    """N: as given, or the length of the lists."""
    lengths = {name: len(value) for name, value in lists.items() if value.ndim}
    expected = whole("count", max(lengths.values(), default=1) if count is None else count)
    for name, length in lengths.items():
        require(
            length == expected,
            f"{name} has {length} entries, but there are {expected} agents; give one number or {expected}.",
        )
    return expected


def constants(setup: Setup, L1: float | None = None, gradient_norm: float | None = None, x0=None) -> Constants:
    """The constants of `setup`, with the smallest L0 for the given L1.

    Args:
        L1: which pair of the problem's curve to use.
        gradient_norm: or: the pair that is best at this gradient norm.
        x0: a number or a vector; f(x0) − f* is then the initial gap, where the minimum is known.

    Raises:
        InvalidInput: if neither L1 nor gradient_norm is given, no pair is known, a compressor is biased and not the sign, signs and
            unbiased compressors are mixed, a noise has no finite variance (for signs: no known Student-t scale), or groups have data
            of their own (the theorems assume that all agents share f).

    >>> from stablestep.problem import Quartic
    >>> from stablestep.setup import Agents
    >>> constants(Setup(Quartic(dim=10), Agents(2)), L1=2.0).L0
    1.0
    """
    require((L1 is None) != (gradient_norm is None), "give either L1 or gradient_norm, to choose the pair (L0, L1).")
    setup.require_memoryless("a theorem")
    if setup.differs:
        raise InvalidInput(
            "groups have problems of their own, but the theorems assume that all agents share f; use one problem."
        )
    best = gradient_norm is not None
    chosen = setup.problem.best_L1(at_least_zero("gradient_norm", gradient_norm)) if best else at_least_zero("L1", L1)
    signs = {isinstance(group.compressor, Sign) for group in setup.groups}
    require(len(signs) == 1, "groups mix signs and unbiased messages, for which no theorem is stated; use one of them.")
    return Constants(
        L0=setup.problem.smoothness(chosen),
        L1=chosen,
        dim=setup.dim,
        count=setup.count,
        initial_gap=_gap(setup, x0),
        **(_scales(setup) if signs == {True} else _variances(setup)),
    )


def _gap(setup: Setup, x0) -> float | None:
    if x0 is None or setup.problem.minimum is None:
        return None
    given = np.asarray(x0, float)
    require(
        given.shape in ((), (setup.dim,)),
        f"x0 has shape {given.shape}, but must be a number or a vector of length {setup.dim}.",
    )
    with jax.enable_x64(True):
        point = jnp.asarray(np.broadcast_to(given, (setup.dim,)))
        return max(0.0, float(setup.problem.value(point)) - setup.problem.minimum)


def _variances(setup: Setup) -> dict[str, Any]:
    variances = [group.noise.affine_variance(setup.dim) for group in setup.groups]
    counts = [group.count for group in setup.groups]
    masks = {group.shared for group in setup.groups if not group.compressor.deterministic}
    require(
        len(masks) <= 1, 'groups mix mask="own" and mask="shared", for which no theorem is stated; use one of them.'
    )
    return {
        "omega": np.repeat([group.compressor.omega(setup.dim) for group in setup.groups], counts),
        "sigma0_sq": np.repeat([variance[0] for variance in variances], counts),
        "sigma1_sq": np.repeat([variance[1] for variance in variances], counts),
        "shared_mask": masks == {True},
    }


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
