"""Exact second moments of methods with memory on ½xᵀHx under Bernoulli masks (theory2.md section 2.2), in NumPy.

A recursion is `begin(x0)`, a tuple of matrices whose first is E xxᵀ, and `step` of such a tuple. Own masks of N agents; a shared mask is
`shared(...)`: N → 1 with the noise of the mean. Every agent's gradient has the noise covariance Q + σ₁²E‖∇f‖² I.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, product

import numpy as np
from scipy.optimize import brentq

Matrix = np.ndarray
Moments = tuple[Matrix, ...]


def diagonal(S: Matrix) -> Matrix:
    return np.diag(np.diag(S))


@dataclass(frozen=True)
class Case:
    """H, an agent's additive noise Q, σ₁² of its relative noise, p = 1/(1+ω), N, and η."""

    H: Matrix
    Q: Matrix
    p: float
    count: int
    eta: float
    relative: float = 0.0
    spread: Matrix | float = 0.0  # the second moment of ∇f_i − ∇f over agents with data of their own (and equal H)

    def noise(self, gradients: Matrix) -> Matrix:
        return self.Q + self.relative * np.trace(gradients) * np.eye(len(self.H))

    @property
    def shared(self) -> "Case":
        """As one agent with the mean gradient: what a shared mask makes of N."""
        return replace(self, Q=self.Q / self.count, relative=self.relative / self.count, count=1, spread=0.0)


def one_dimensional(p=1.0, count=1, eta=1.0, relative=0.0, q=1.0) -> Case:
    return Case(np.eye(1), q * np.eye(1), p, count, eta, relative)


def covariance(case: Case, S: Matrix) -> Matrix:
    """Of the mean message of scaled own masks, where E xxᵀ = S: E of (1/N)(Σ̂ + ω diag(gg⊤ + Σ̂))."""
    gradients = case.H @ S @ case.H
    noise = case.noise(gradients)
    return (noise + (1 / case.p - 1) * diagonal(gradients + case.spread + noise)) / case.count


class Linear:
    """z = (x, m), z⁺ = Fz + Gξ with Cov ξ = C(S)."""

    def __init__(self, case: Case, F: Matrix, G: Matrix):
        self.case, self.F, self.G = case, F, G

    def begin(self, x0: Matrix) -> Moments:
        z = np.concatenate([x0, np.zeros(len(self.F) - len(x0))])
        return (np.outer(z, z),)

    def step(self, moments: Moments) -> Moments:
        (S,) = moments
        d = len(self.case.H)
        return (self.F @ S @ self.F.T + self.G @ covariance(self.case, S[:d, :d]) @ self.G.T,)


def plain(case: Case) -> Linear:
    one = np.eye(len(case.H))
    return Linear(case, one - case.eta * case.H, -case.eta * one)


def heavy_ball(case: Case, beta: float, gain: float = 1.0) -> Linear:
    """m⁺ = βm + gain M, x⁺ = x − ηm⁺."""
    one, eta = np.eye(len(case.H)), case.eta
    F = np.block([[one - eta * gain * case.H, -eta * beta * one], [gain * case.H, beta * one]])
    return Linear(case, F, np.vstack([-eta * gain * one, gain * one]))


def nesterov(case: Case, beta: float) -> Linear:
    """m⁺ = βm + M, x⁺ = x − η(M + βm⁺)."""
    one, eta = np.eye(len(case.H)), case.eta
    F = np.block([[one - eta * (1 + beta) * case.H, -eta * beta**2 * one], [case.H, beta * one]])
    return Linear(case, F, np.vstack([-eta * (1 + beta) * one, one]))


class Feedback:
    """EF: A = E xx⊤, B = E xe_i⊤, C = E e_ie_i⊤, D = E e_ie_j⊤."""

    def __init__(self, case: Case):
        self.case = case

    def begin(self, x0: Matrix) -> Moments:
        zero = np.zeros((len(x0), len(x0)))
        return np.outer(x0, x0), zero, zero, zero

    def step(self, moments: Moments) -> Moments:
        A, B, C, D = moments
        H, eta, p, N = self.case.H, self.case.eta, self.case.p, self.case.count
        R = eta * H @ B + eta * B.T @ H + eta**2 * H @ A @ H
        P2, P11, X = C + R + eta**2 * self.case.noise(H @ A @ H), D + R, B + eta * A @ H
        return (
            A - p * (X + X.T) + kept(P2, p) / N + (1 - 1 / N) * p**2 * P11,
            (1 - p) * X - (apart(P2, p) + (N - 1) * p * (1 - p) * P11) / N,
            left(P2, p),
            (1 - p) ** 2 * P11,
        )


class Estimate:
    """EF21: A = E xx⊤, B = E xG_i⊤, C = E G_iG_i⊤, D = E G_iG_j⊤, G_i the message sent at x."""

    def __init__(self, case: Case):
        self.case = case

    def begin(self, x0: Matrix) -> Moments:
        """G_i = C(g̃_i)."""
        A, H, p = np.outer(x0, x0), self.case.H, self.case.p
        G2 = H @ A @ H + self.case.noise(H @ A @ H)
        return A, p * A @ H, kept(G2, p), p**2 * H @ A @ H

    def step(self, moments: Moments) -> Moments:
        A, B, C, D = moments
        H, eta, p, N = self.case.H, self.case.eta, self.case.p, self.case.count
        Y = C / N + (1 - 1 / N) * D
        after, W = A - eta * (B + B.T) + eta**2 * Y, B - eta * Y
        second = H @ after @ H
        G2, cross = second + self.case.noise(second), H @ W
        return (
            after,
            (1 - p) * W + p * after @ H,
            left(C, p) + kept(G2, p) + apart(cross, p) + apart(cross, p).T,
            (1 - p) ** 2 * D + p * (1 - p) * (cross + cross.T) + p**2 * second,
        )


def kept(S: Matrix, p: float) -> Matrix:
    """E C(v)C(v)⊤ where E vv⊤ = S."""
    return p**2 * S + p * (1 - p) * diagonal(S)


def left(S: Matrix, p: float) -> Matrix:
    """E (v − C(v))(v − C(v))⊤."""
    return (1 - p) ** 2 * S + p * (1 - p) * diagonal(S)


def apart(S: Matrix, p: float) -> Matrix:
    """E C(v)(v − C(v))⊤."""
    return p * (1 - p) * (S - diagonal(S))


Recursion = Linear | Feedback | Estimate


def transient(recursion: Recursion, x0, steps: int) -> Matrix:
    """E xx⊤ at 0, 1, …, steps."""

    def all_of(moments: Moments) -> Iterator[Matrix]:
        d = len(np.atleast_1d(x0))
        while True:
            yield moments[0][:d, :d]
            moments = recursion.step(moments)

    return np.array(list(islice(all_of(recursion.begin(np.atleast_1d(np.asarray(x0, float)))), steps + 1)))


def affine(recursion: Recursion) -> tuple[Matrix, Matrix, list[tuple[int, ...]]]:
    """(T, c) with step(s) = Ts + c for the flattened moments."""
    shapes = [block.shape for block in recursion.begin(np.zeros(len(recursion.case.H)))]
    size = sum(int(np.prod(shape)) for shape in shapes)

    def of(flat: Matrix) -> Matrix:
        pieces = np.split(flat, np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1])
        after = recursion.step(tuple(piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)))
        return np.concatenate([block.ravel() for block in after])

    constant = of(np.zeros(size))
    return np.stack([of(column) - constant for column in np.eye(size)], axis=1), constant, shapes


def stationary(recursion: Recursion) -> Moments:
    T, constant, shapes = affine(recursion)
    flat = np.linalg.solve(np.eye(len(T)) - T, constant)
    pieces = np.split(flat, np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1])
    return tuple(piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True))


def radius(recursion: Recursion) -> float:
    return float(np.max(np.abs(np.linalg.eigvals(affine(recursion)[0]))))


def critical(of: Callable[[float], Recursion], high: float) -> float:
    """The smallest step at which the second moment is no longer bounded: the first crossing of 1, found on a grid and refined."""
    grid = np.linspace(high / 400, high, 400)
    above = next(step for step in grid if radius(of(step)) > 1)
    return float(brentq(lambda step: radius(of(step)) - 1, max(above - high / 400, high * 1e-6), above, xtol=1e-14))


class Enumerated:
    """EF21-SGDM in one dimension by all 2^N masks: z = (x, v_1…v_N, G_1…G_N), S⁺ = E_b[F_b S F_b⊤] + noise; μ = 1 is EF21."""

    def __init__(self, case: Case, mu: float):
        self.case, self.mu = case, mu

    def begin(self, x0: Matrix) -> Moments:
        """v_i = G_i = g̃_i."""
        N = self.case.count
        z = np.concatenate([x0, np.tile(self.case.H @ x0, 2 * N)])
        same = np.block([[np.zeros((1, 1 + 2 * N))], [np.zeros((2 * N, 1)), np.tile(np.eye(N), (2, 2))]])
        return (np.outer(z, z) + self.case.Q[0, 0] * same,)

    def step(self, moments: Moments) -> Moments:
        (S,) = moments
        N, p = self.case.count, self.case.p
        total = np.zeros_like(S)
        for bits in product((0.0, 1.0), repeat=N):
            chance = np.prod([p if bit else 1 - p for bit in bits])
            F, noisy = self._map(np.array(bits))
            total += chance * (F @ S @ F.T + self.case.Q[0, 0] * noisy @ noisy.T)
        return (total,)

    def _map(self, bits: Matrix) -> tuple[Matrix, Matrix]:
        N, mu, eta, h = self.case.count, self.mu, self.case.eta, self.case.H[0, 0]
        x = np.concatenate([[1.0], np.zeros(N), np.full(N, -eta / N)])
        v = (1 - mu) * np.eye(2 * N + 1)[1 : N + 1] + mu * h * x
        G = (1 - bits)[:, None] * np.eye(2 * N + 1)[N + 1 :] + bits[:, None] * v
        noisy = np.vstack([np.zeros((1, N)), mu * np.eye(N), mu * np.diag(bits)])
        return np.vstack([x, v, G]), noisy
