"""The theorems by hand: cases, second moments agent by agent, and the sign formulas as P prints them."""

import numpy as np

from stablestep.theorem import Constants, result, results

HET = {"L0": 1, "L1": 0.5, "dim": 10, "omega": [4, 8], "sigma0_sq": [0.1, 0.2], "sigma1_sq": [0.01, 0.02]}
# φ¹ and φ² of η_t = (1+t)^-0.6 at t = 100.
PHI1, PHI2 = (101**0.4 - 1) / 0.4, (1 - 101**-0.2) / 0.2
TIMES = {"eta": 0.1, "phi1": PHI1, "phi2": PHI2}

SIGN = {"L0": 1, "L1": 2, "dim": 4, "count": 2, "nu": 1, "scale_max": [1, 3]}
SLOPES = {1: 2 / np.pi, 2: 1 / np.sqrt(2), np.inf: np.sqrt(2 / np.pi)}  # ℓ_ν = 2M_ν
# Of η_t = (1+t)^-½ at t = 100, with η = .01: the case of theory 1.3.
ROOT = {"eta": 0.01, "phi1": 2 * (np.sqrt(101) - 1), "phi2": np.log(101)}


def without(name, values=HET):
    """The heterogeneous case without this constant."""
    return Constants(**{key: value for key, value in values.items() if key != name})


def random_constants(generator, count, omega=True, relative=True):
    draw = generator.uniform
    return {
        "L0": draw(0, 3),
        "L1": draw(0, 3),
        "dim": int(generator.integers(1, 50)),
        "omega": draw(0, 9, count) * omega,
        "sigma0_sq": draw(0, 2, count),
        "sigma1_sq": draw(0, 1, count) * relative,
    }


def second_moment(dim, omega, sigma0_sq, sigma1_sq, **_):
    """(relative, floor) with E‖M − g‖² ≤ relative ‖g‖² + floor for the mean message M.

    Agent i's message has E‖m_i − g‖² ≤ ω_i‖g‖² + (1 + ω_i) d (σ0_i² + σ1_i²‖g‖²), and the errors are independent.
    """
    count = len(omega)
    relative = sum(w + (1 + w) * dim * s1 for w, s1 in zip(omega, sigma1_sq, strict=True)) / count**2
    floor = sum((1 + w) * dim * s0 for w, s0 in zip(omega, sigma0_sq, strict=True)) / count**2
    return relative, floor


def harmonic(scales):
    return len(scales) / sum(1 / scale for scale in scales)


def eq128(L0, L1, dim, count, nu, scale_max, gap, eta, phi1, phi2):
    """P Eq. 128, as printed."""
    inverse = SLOPES[nu] / harmonic(scale_max)
    return (gap + eta * (L0 + L1) * dim * phi2 / (2 * count)) / (phi1 * inverse - phi2 * eta * L1 * dim / (2 * count))


def eq18(L0, L1, dim, count, nu, scale_max, gap, eta, phi1, phi2):
    """P Eq. 18, as printed."""
    scale, slope, M = harmonic(scale_max), SLOPES[nu], SLOPES[nu] / 2
    K = L1 * dim * scale / (2 * count) + np.sqrt(dim) * (L0 + L1) * M
    noise = phi2 * eta * (L0 + L1) * dim * (1 / (2 * count) + M / (scale * np.sqrt(dim)))
    return scale / (phi1 * slope - phi2 * eta * K) * (gap + noise)


def eq135(L0, L1, dim, count, nu, scale_max, gap, eta, phi1, phi2, factor=1.0):
    """P Eq. 135, as printed (factor 1), or with the factor dη that its proof has in S2."""
    scale, M = harmonic(scale_max), SLOPES[nu] / 2
    K = L1 / (2 * count) + (L0 + L1) * M / (scale * np.sqrt(dim))
    noise = phi2 * eta * (L0 + L1) * dim * (1 / (2 * count) + M / (scale * np.sqrt(dim)))
    return (gap + noise) / (phi1 * SLOPES[nu] / scale - phi2 * factor * K)


def _half(time):
    return {"phi1": 2 * (np.sqrt(1 + time) - 1), "phi2": np.log(1 + time)}


# theory 2.3, d = N = 1, ν = 1, σ = 1: f', x0, f(x0), constants, schedule, and the values of Eqs. 128 and 18, which all models exceed.
COUNTEREXAMPLES = {
    "far on a parabola": (lambda x: x, 100.0, 5000.0, (1, 0), 100, {"eta": 0.1, **_half(100)}, 434.0, 439.6),
    "near on a parabola": (lambda x: x, 5.0, 12.5, (1, 0), 100, {"eta": 0.1, **_half(100)}, 1.105, 1.132),
    "constant step": (lambda x: x, 1.0, 0.5, (1, 0), 15, {"eta": 0.001, "phi1": 15.0, "phi2": 15.0}, 0.0531, 0.0537),
    "quartic": (lambda x: x**3, 3.0, 20.25, (1, 2), 50, {"eta": 0.1, **_half(50)}, 2.806, 3.009),
    "cosh": (np.sinh, 6.0, np.cosh(6) - 1, (1, 1), 100, {"eta": 0.1, **_half(100)}, 17.8, 18.3),
}


PAPERS = [one.name for one in results() if one.sde != "discrete" and not one.memories]  # what P and S2 state
UNBIASED = [name for name in PAPERS if result(name).method != "DSignSGD"]
