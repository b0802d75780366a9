"""The constants that the theorems are stated in."""

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import wadler_lindig as wl

from stablestep.card import WIDTH
from stablestep.compressor.feedback import momentum
from stablestep.described import call
from stablestep.errors import at_least_zero, instance, is_number, positive, require, shown, whole

Each = Any  # given as a number or a list, kept as an array [n]
_LISTS = ("omega", "sigma0_sq", "sigma1_sq", "scale_max", "scale_min")
_MOST = 10**18  # parameters, of the largest model there will be
EXAMPLE = "theorem.constants(setup, L1=1) or theorem.Constants(L0=1, L1=0, dim=10)"
FEEDBACK = "error feedback"  # a contractive memory of which no more is said


@dataclass(frozen=True, repr=False)
class Constants:
    """Smoothness (L0, L1), dimension d, and each agent's noise and compression (P Defs. 3.1-3.3).

    Args:
        L0, L1: ‖∇²f‖ ≤ L0 + L1‖∇f‖ in the spectral norm; where clients differ, of every client's own f_i.
        dim: d.
        omega, sigma0_sq, sigma1_sq: compression ω and variance σ0² + σ1²‖∇f‖² of each coordinate: a number for all agents, or a list
            with one for each agent.
        count: number of agents N; by default the length of the lists, or 1.
        shared_mask: whether one mask serves all agents; the compression noise is then not averaged.
        nu: for signs, the degrees of freedom ν of the Student-t noise (∞ for Gaussian noise), the same for all agents.
        scale_max, scale_min: for signs, each agent's largest and smallest scale over the coordinates (smallest: the largest unless given).
        initial_gap: S0 = f(X0) − f*, where it is not given to `bound`.
        memory: what makes a message depend on the past, by name, such as "ErrorFeedback"; None where nothing does. Results that do not
            know it raise. Where it is left out, `beta` means "HeavyBall", and `alpha` some error feedback.
        beta: β of the server's momentum; steps are then effective ones, η_e = η/(1 − β), or η where it averages (see `speed`).
        alpha: E‖C(v) − v‖² ≤ (1 − α)‖v‖² of every compressor in a feedback memory (then ω = 0); `alpha_surely` says whether this holds
            for every draw, as for Top-k, or only in the mean, as for random masks.
        dissimilarity: (𝔅², ζ²) with (1/N) Σ‖∇f_i‖² ≤ 𝔅²‖∇f‖² + ζ², where clients have data of their own (theory2 section 6).
        mean_smoothness: the (L0, L1) of f itself, where clients differ and it is known; by default (L0 + L1 ζ, L1 𝔅), since smoothness
            is not inherited.
        normalized: whether every step is divided by the norm of the direction.
        masks: whether ω is that of masks (Bernoulli, Rand-k), so that ‖C(g)‖ ≤ (1 + ω)‖g‖ for every draw.
        clip: threshold c of the local clipping g min(1, c/‖g‖).
        speed: η_e/η, by which a method's own step is multiplied to give the steps that are meant here.

    Raises:
        InvalidInput: if a constant is negative or no number, lists have different lengths, or 𝔅² is below 1.

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
    beta: float | None = None
    alpha: float | None = None
    alpha_surely: bool = True
    dissimilarity: tuple[float, float] | None = None
    mean_smoothness: tuple[float, float] | None = None
    normalized: bool = False
    masks: bool = True
    clip: float | None = None
    speed: float = 1.0

    def __post_init__(self):
        if self.scale_min is None:
            self._set("scale_min", self.scale_max)
        self._check_numbers()
        lists = {name: _at_least_zero(name, getattr(self, name)) for name in _LISTS if getattr(self, name) is not None}
        self._set("count", _agents(self.count, lists))
        for name, value in lists.items():
            self._set(name, np.broadcast_to(value, (self.agents,)))
        self._check_memory()
        self._check_clients()
        low, high = self.scale_min, self.scale_max
        require(
            high is None or bool(np.all(low <= high)),
            f"scale_min is {low}, but cannot exceed scale_max, {high}.",
        )

    def __repr__(self) -> str:
        return wl.pformat(self, width=WIDTH)

    def __pdoc__(self, **settings) -> wl.AbstractDoc:
        given = {one.name: _shared(getattr(self, one.name)) for one in fields(self)}
        usual = {one.name: one.default for one in fields(self)} | {"scale_min": given["scale_max"], "count": 1}
        return call(self, {name: value for name, value in given.items() if not _same(value, usual[name])}, settings)

    def _set(self, name: str, value) -> None:
        object.__setattr__(self, name, value)

    def _check_numbers(self) -> None:
        for name in ("L0", "L1"):
            at_least_zero(name, getattr(self, name))
        self._set("dim", whole("dim", self.dim, most=_MOST))
        for name in ("shared_mask", "normalized", "alpha_surely", "masks"):
            instance(name, getattr(self, name), bool, "True")
        positive("speed", self.speed)
        known = self.nu is None or (is_number(self.nu) and self.nu > 0)
        require(known, f"nu is {shown(self.nu)}, but degrees of freedom must be greater than 0.")
        require(
            (self.nu is None) == (self.scale_max is None),
            f"nu is {shown(self.nu)} and scale_max is {shown(self.scale_max)}, but Student-t noise needs both; give both or neither.",
        )
        if self.initial_gap is not None:
            at_least_zero("initial_gap", self.initial_gap)
        if self.clip is not None:
            self._set("clip", positive("clip", self.clip))

    def _check_memory(self) -> None:
        if self.memory is not None:
            instance("memory", self.memory, str, '"ErrorFeedback"')
        if self.beta is not None:
            self._set("beta", momentum(self.beta))
        if self.alpha is not None:
            fits = is_number(self.alpha) and 0 < self.alpha <= 1
            require(fits, f"alpha is {shown(self.alpha)}, but must be in (0, 1], such as k/d of Top-k.")
            require(
                not np.any(self.omega),
                f"alpha and omega = {np.max(self.omega):g} are both given, but what is in a feedback memory has no ω; leave omega out.",
            )
        if self.memory is None:
            given = {"HeavyBall": self.beta, FEEDBACK: self.alpha}
            names = [name for name, value in given.items() if value is not None]
            self._set("memory", " and ".join(names) or None)

    def _check_clients(self) -> None:
        if self.dissimilarity is not None:
            self._set("dissimilarity", _pair("dissimilarity", self.dissimilarity, "(1.0, 0.5)"))
            square, _ = self.dissimilarity
            require(
                square >= 1,
                f"dissimilarity has 𝔅² = {square:g}, but the mean of squares is at least the square of the mean: give 𝔅² of at least 1.",
            )
        if self.mean_smoothness is not None:
            self._set("mean_smoothness", _pair("mean_smoothness", self.mean_smoothness, "(1.0, 2.0)"))
        require(
            not (self.unlike and self.shared_mask) or bool(np.all(self.omega == self.omega[0])),
            f"shared_mask is True and omega is {shown(self.omega.tolist())}, but clients that differ share a mask only with the same ω.",
        )

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
    def unlike(self) -> bool:
        """Whether clients have data of their own; 𝔅² = 1 with ζ² = 0 says that all gradients are the same."""
        return self.dissimilarity not in (None, (1.0, 0.0))

    @property
    def spread(self) -> tuple[float, float]:
        """(𝔅², ζ²), (1, 0) where clients are alike."""
        return self.dissimilarity or (1.0, 0.0)

    @property
    def smoothness(self) -> tuple[float, float]:
        """(L0, L1) of f: if every f_i has (L0, L1) and (1/N) Σ‖∇f_i‖ ≤ 𝔅‖∇f‖ + ζ, then f has (L0 + L1 ζ, L1 𝔅)."""
        if self.mean_smoothness is not None:
            return self.mean_smoothness
        square, floor = self.spread
        return self.L0 + self.L1 * math.sqrt(floor), self.L1 * math.sqrt(square)

    @property
    def A(self) -> float:
        """ω̄ + d (mean σ1²ω + mean σ1²); with a shared mask the first term is N ω̄ (only the gradient noise averages).

        Where clients differ 𝔅² max_i a_i, a_i = ω_i + (1 + ω_i) d σ1_i²; with a shared mask 𝔅² multiplies the gradient noise alone.
        """
        noise = self.dim * self.sigma1_sq * (1 + self.omega)
        mean = np.max if self.unlike else np.mean
        if self.shared_mask:
            return float(np.mean(self.omega)) * self.agents + self.spread[0] * float(mean(noise))
        return self.spread[0] * float(mean(self.omega + noise))

    @property
    def B(self) -> float:
        """d (mean σ0² + mean σ0²ω); where clients differ ζ² max_i a_i more, with a shared mask ζ² max_i (1 + ω) d σ1_i² more."""
        relative = self.dim * self.sigma1_sq * (1 + self.omega) + (0.0 if self.shared_mask else self.omega)
        return self.dim * float(np.mean(self.sigma0_sq * (1 + self.omega))) + self.spread[1] * float(np.max(relative))

    @property
    def momentum(self) -> float:
        """β, where it is given."""
        assert self.beta is not None
        return self.beta

    @property
    def threshold(self) -> float:
        """c of local clipping, where it is given."""
        assert self.clip is not None
        return self.clip

    @property
    def s(self) -> float:
        """√(1 − α), the factor by which a feedback memory shrinks."""
        assert self.alpha is not None
        return math.sqrt(1 - self.alpha)

    @property
    def gain(self) -> float:
        """r = s/(1 − s) = s(1 + s)/α: how much larger than what it is given a feedback memory can be."""
        assert self.alpha is not None
        return self.s * (1 + self.s) / self.alpha


def _shared(value):
    """What all agents have in common, as one number."""
    same = isinstance(value, np.ndarray) and bool(np.all(value == value[0]))
    return float(value[0]) if same else value


def _same(value, other) -> bool:
    return value is other or (not isinstance(value, np.ndarray) and value == other)


def _pair(name: str, value, example: str) -> tuple[float, float]:
    """Two numbers of at least 0."""
    fits = isinstance(value, (tuple, list)) and len(value) == 2
    require(fits, f"{name} is {shown(value)}, but must be a pair of numbers, such as {example}.")
    return at_least_zero(f"{name}[0]", value[0]), at_least_zero(f"{name}[1]", value[1])


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
