"""The methods of theory2.md section 1, in loops written from its table: quadratic clients, a given noise, nothing of the library."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class World:
    """N clients f_i = ½(x − c_i)ᵀH_i(x − c_i), and the noise [steps, N, d] that each gradient gets."""

    matrices: np.ndarray
    centres: np.ndarray
    noise: np.ndarray
    x0: np.ndarray

    @property
    def clients(self) -> range:
        return range(len(self.matrices))

    def exact(self, i, x):
        return self.matrices[i] @ (x - self.centres[i])

    def noisy(self, k, i, x):
        return self.exact(i, x) + self.noise[k, i]

    def mean(self, vectors):
        return sum(vectors) / len(self.matrices)

    def gradient(self, k, x):
        return self.mean([self.noisy(k, i, x) for i in self.clients])

    def first(self, i):
        return self.noisy(0, i, self.x0)


Step = Callable[[int], float]
Points = Iterator[np.ndarray]


def top(count):
    def compress(vector):
        kept = np.zeros_like(vector)
        for j in sorted(range(len(vector)), key=lambda j: (-abs(vector[j]), j))[:count]:
            kept[j] = vector[j]
        return kept

    return compress


def scaled_sign(vector):
    return sum(abs(entry) for entry in vector) / len(vector) * np.sign(vector)


def length(vector):
    return float(np.sqrt(sum(entry**2 for entry in vector)))


def normal(vector):
    return vector / length(vector)


def clipped(vector, threshold):
    return vector * min(1, threshold / length(vector))


def sgd(world: World, step: Step, message=lambda vector: vector) -> Points:
    x, k = world.x0, 0
    while True:
        yield x
        x = x - step(k) * world.mean([message(world.noisy(k, i, x)) for i in world.clients])
        k += 1


def heavy_ball(world: World, step: Step, beta, message=lambda vector: vector, m=0.0, gain=1.0) -> Points:
    """m⁺ = βm + gain M, x⁺ = x − ηm⁺: HB, and EMA with gain 1 − β."""
    x, k = world.x0, 0
    while True:
        yield x
        m = beta * m + gain * world.mean([message(world.noisy(k, i, x)) for i in world.clients])
        x = x - step(k) * m
        k += 1


def nesterov(world: World, step: Step, beta) -> Points:
    x, m, k = world.x0, 0.0, 0
    while True:
        yield x
        M = world.gradient(k, x)
        m = beta * m + M
        x = x - step(k) * (M + beta * m)
        k += 1


def feedback_inside(world: World, step: Step, compress, change=lambda vector: vector) -> Points:
    """EF14; NEF where `change` divides by the norm."""
    x, k = world.x0, 0
    e = [np.zeros_like(x) for _ in world.clients]
    while True:
        yield x
        sent = []
        for i in world.clients:
            p = e[i] + step(k) * change(world.noisy(k, i, x))
            c = compress(p)
            e[i] = p - c
            sent.append(c)
        x = x - world.mean(sent)
        k += 1


def feedback_outside(world: World, step: Step, compress) -> Points:
    x, k = world.x0, 0
    e = [np.zeros_like(x) for _ in world.clients]
    while True:
        yield x
        sent = []
        for i in world.clients:
            p = e[i] + world.noisy(k, i, x)
            c = compress(p)
            e[i] = p - c
            sent.append(c)
        x = x - step(k) * world.mean(sent)
        k += 1


def ef21(world: World, step: Step, compress, warm=False, change=lambda vector: vector) -> Points:
    """G_i at the start: C(g̃_i), warm ∇f_i. ‖EF21‖ where `change` divides the mean by its norm."""
    x, k = world.x0, 0
    G = [world.exact(i, x) if warm else compress(world.first(i)) for i in world.clients]
    while True:
        yield x
        x, k = x - step(k) * change(world.mean(G)), k + 1
        G = [G[i] + compress(world.noisy(k, i, x) - G[i]) for i in world.clients]


def ef21_momentum(world: World, step: Step, compress, mu) -> Points:
    """EF21-SGDM: v = G = g̃ at the start."""
    x, k = world.x0, 0
    v = [world.first(i) for i in world.clients]
    G = list(v)
    while True:
        yield x
        x, k = x - step(k) * world.mean(G), k + 1
        v = [(1 - mu) * v[i] + mu * world.noisy(k, i, x) for i in world.clients]
        G = [G[i] + compress(v[i] - G[i]) for i in world.clients]


def normalized(world: World, step: Step) -> Points:
    x, k = world.x0, 0
    while True:
        yield x
        x = x - step(k) * normal(world.gradient(k, x))
        k += 1


def normalized_momentum(world: World, step: Step, beta) -> Points:
    x, m, k = world.x0, 0.0, 0
    while True:
        yield x
        m = beta * m + (1 - beta) * world.gradient(k, x)
        x = x - step(k) * normal(m)
        k += 1


def signum(world: World, step: Step, beta) -> Points:
    """Every client takes the sign of an average of its own."""
    x, k = world.x0, 0
    m = [np.zeros_like(x) for _ in world.clients]
    while True:
        yield x
        for i in world.clients:
            m[i] = beta * m[i] + (1 - beta) * world.noisy(k, i, x)
        x = x - step(k) * world.mean([np.sign(m[i]) for i in world.clients])
        k += 1


def majority(world: World, step: Step) -> Points:
    x, k = world.x0, 0
    while True:
        yield x
        x = x - step(k) * np.sign(sum(np.sign(world.noisy(k, i, x)) for i in world.clients))
        k += 1


def two_kinds(world: World, step: Step, compress, of_second, beta, beta_server) -> Points:
    """The first two clients by EF (step inside), the others by an average and `of_second`; heavy ball at the server."""
    x, k, m = world.x0, 0, 0.0
    e = [np.zeros_like(x) for _ in world.clients]
    v = [np.zeros_like(x) for _ in world.clients]
    while True:
        yield x
        h, sent = step(k), []
        for i in world.clients:
            if i < 2:
                p = e[i] + h * world.noisy(k, i, x)
                e[i] = p - compress(p)
                sent.append(compress(p) / h)
            else:
                v[i] = beta * v[i] + (1 - beta) * world.noisy(k, i, x)
                sent.append(of_second(v[i]))
        m = beta_server * m + world.mean(sent)
        x = x - h * m
        k += 1


def clipped_feedback(world: World, step: Step, compress, threshold) -> Points:
    return feedback_inside(world, step, compress, change=lambda vector: clipped(vector, threshold))
