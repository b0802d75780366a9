"""Formulas of the continuous models in plain NumPy, written from the theory and not from the library."""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import stats

SCALES = np.array([0.4, 1.0, 2.5])
HESSIAN = np.array([[2.0, 0.6, -0.3], [0.6, 1.0, 0.4], [-0.3, 0.4, 0.7]])
POINTS = np.array([[0.7, -1.1, 0.4], [-2.0, 0.3, 1.5], [0.05, 0.6, -0.2]])


@dataclass(frozen=True)
class SignAgents:
    """`count` agents that send signs under t_ν noise with independent coordinates (P Eqs. 124-127)."""

    count: int
    df: float
    scale: np.ndarray

    @property
    def law(self):
        return stats.norm if np.isinf(self.df) else stats.t(self.df)

    def mean(self, g):
        return 2 * (self.law.cdf(g / self.scale) - 0.5)

    def slope(self, g):
        return 2 * self.law.pdf(g / self.scale) / self.scale

    def covariance(self, g):
        return np.diag(1 - self.mean(g) ** 2)

    def secant(self, g):
        return self.mean(g) / g

    def printed(self, hessian, g):
        """Σ_i^-½ H (Ξ'∘Ξ) of P Eq. 134."""
        z = g / self.scale
        return hessian @ (self.law.pdf(z) * (self.law.cdf(z) - 0.5)) / self.scale

    def outcomes(self, g):
        """Every message of one agent with its probability."""
        up = self.law.cdf(g / self.scale)
        return [
            (np.prod(np.where(np.array(s) > 0, up, 1 - up)), np.array(s, float), np.zeros((3, 3)))
            for s in itertools.product([-1, 1], repeat=3)
        ]


@dataclass(frozen=True)
class PlainAgents:
    """`count` agents that send unbiased messages: noise of variance σ0² + σ1²‖g‖², then `keep`."""

    count: int
    sigma0: np.ndarray
    sigma1: float = 0.0
    omega: float = 0.0
    k: int | None = None

    def mean(self, g):
        return g

    def slope(self, g):
        return np.ones_like(g)

    def secant(self, g):
        return np.ones_like(g)

    def noise(self, g):
        return np.diag(self.sigma0**2 + self.sigma1**2 * (g @ g))

    def covariance(self, g):
        """Σ + ω diag(g² + diag Σ), and Σ + (ω/(d−1)) (d diag S − S) for Rand-k (theory of the compressors)."""
        noise = self.noise(g)
        if self.k is None:
            return noise + self.omega * np.diag(g**2 + np.diag(noise))
        d, second = len(g), np.outer(g, g) + noise
        return noise + (d / self.k - 1) / (d - 1) * (d * np.diag(np.diag(second)) - second)

    def masks(self):
        if self.k is None:
            p = 1 / (1 + self.omega)
            for kept in itertools.product([0, 1], repeat=3):
                yield p ** sum(kept) * (1 - p) ** (3 - sum(kept)), np.array(kept) / p
            return
        chosen = list(itertools.combinations(range(3), self.k))
        for kept in chosen:
            yield 1 / len(chosen), np.isin(np.arange(3), kept) * 3 / self.k

    def outcomes(self, g):
        """Every mask with its probability, the mean message under it, and the covariance that the noise leaves."""
        return [(p, mask * g, mask[:, None] * self.noise(g) * mask) for p, mask in self.masks() if p > 0]


class Reference:
    """The mean message of several groups on f(x) = ½ xᵀHx."""

    def __init__(self, groups, hessian=HESSIAN):
        self.groups, self.hessian = groups, hessian
        self.count = sum(group.count for group in groups)

    def average(self, name, x):
        g = self.hessian @ x
        return sum(group.count * getattr(group, name)(g) for group in self.groups) / self.count

    def covariance(self, x):
        return self.average("covariance", x) / self.count

    def correction(self, kind, x):
        """c in the drift −m + (η/2) c."""
        m = self.average("mean", x)
        jacobian = self.average("slope", x) * (self.hessian @ m)
        matching = self.average("secant", x) * (self.hessian @ m)
        return {"first": 0 * m, "classic": -jacobian, "flip": jacobian, "new": matching}[kind]

    def drift(self, kind, eta, rate, x):
        return -rate * self.average("mean", x) + eta * rate**2 / 2 * self.correction(kind, x)

    def printed(self, sign, eta, rate, x):
        """P Eq. 134 (sign +1) and S2 Eq. 102 (sign −1)."""
        g = self.hessian @ x
        term = sum(group.count * group.printed(self.hessian, g) for group in self.groups) / self.count
        return -rate * self.average("mean", x) + sign * eta * rate**2 * term

    def loss_change(self, eta, rate, x):
        """E[f(x⁺) − f(x)]/η for x⁺ = x − ηη_t M, over every message of every agent."""
        g, h = self.hessian @ x, eta * rate
        chance, total, spread = np.ones(1), np.zeros((1, 3)), np.zeros((1, 3, 3))
        for group in self.groups:
            p, message, covariance = (np.array(part) for part in zip(*group.outcomes(g), strict=True))
            for _ in range(group.count):
                chance = np.outer(chance, p).ravel()
                total = (total[:, None] + message).reshape(-1, 3)
                spread = (spread[:, None] + covariance).reshape(-1, 3, 3)
        moved = x - h * total / self.count
        added = h**2 * np.einsum("ij,nji->n", self.hessian, spread) / self.count**2
        after = np.einsum("ni,ij,nj->n", moved, self.hessian, moved) + added
        return (chance @ after - x @ self.hessian @ x) / (2 * eta)
