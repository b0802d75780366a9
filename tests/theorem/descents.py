"""Small runs of the methods that the discrete theorems are about, in NumPy: Σ cosh(x_j − c_j), quadratics and powers."""

import numpy as np


def top(v, k=1):
    """The k largest coordinates."""
    kept = np.zeros_like(v)
    chosen = np.argsort(-np.abs(v), kind="stable")[:k]
    kept[chosen] = v[chosen]
    return kept


def unit(v):
    norm = np.linalg.norm(v)
    return v / norm if norm > 0 else 0 * v


def plain(gradient, x, eta, steps, send):
    """Mean gradient norm of x⁺ = x − η send(∇f)."""
    norms = []
    for _ in range(steps):
        g = gradient(x)
        norms.append(np.linalg.norm(g))
        x = x - eta * send(g)
    return np.array(norms)


def averaged(gradient, x, eta, steps, beta, send=lambda g: g, turn=lambda m: m, m=None, noise=lambda: 0.0):
    """x⁺ = x − η turn(m⁺), m⁺ = βm + (1 − β) send(∇f)."""
    norms, m = [], np.zeros_like(x) if m is None else m
    for _ in range(steps):
        g = gradient(x)
        norms.append(np.linalg.norm(g))
        m = beta * m + (1 - beta) * send(g + noise())
        x = x - eta * turn(m)
    return np.array(norms)


def feedback(gradients, x, eta, steps, send, prepare=lambda g: g, virtual=False):
    """Error feedback of several clients: norms of the mean gradient at x, or at x̃ = x − ē."""
    norms, errors = [], np.zeros((len(gradients), len(x)))
    for _ in range(steps):
        at = x - errors.mean(0) if virtual else x
        norms.append(np.linalg.norm(np.mean([gradient(at) for gradient in gradients], axis=0)))
        wanted = errors + eta * np.array([prepare(gradient(x)) for gradient in gradients])
        sent = np.array([send(each) for each in wanted])
        errors, x = wanted - sent, x - sent.mean(0)
    return np.array(norms)


def ef21(gradients, x, eta, steps, send):
    """‖EF21‖ from G_i = ∇f_i(x0)."""
    norms, estimates = [], np.array([gradient(x) for gradient in gradients])
    for _ in range(steps):
        norms.append(np.linalg.norm(np.mean([gradient(x) for gradient in gradients], axis=0)))
        x = x - eta * unit(estimates.mean(0))
        estimates = estimates + np.array([send(g(x) - each) for g, each in zip(gradients, estimates)])
    return np.array(norms)
