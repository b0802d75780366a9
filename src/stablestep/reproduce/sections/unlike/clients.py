"""Clients with data of their own: f_i = ½‖x − c_i‖²."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from stablestep import compressor, noise, problem
from stablestep.setup import Agents, Setup

COUNT, DIM, P = 4, 5, 0.25
OMEGA = 1 / P - 1


class Bowl(problem.Problem):
    """f(x) = ½‖x − c‖².

    >>> Bowl(np.array([1.0])).gradient(jnp.zeros(1)).tolist()
    [-1.0]
    """

    centre: Float[np.ndarray, " d"]

    def __init__(self, centre):
        self.centre = np.atleast_1d(np.asarray(centre, float))

    @property
    def dim(self) -> int:
        """d."""
        return self.centre.shape[0]

    def value(self, x):
        return jnp.sum(jnp.square(x - jnp.asarray(self.centre, x.dtype))) / 2

    def gradient(self, x):
        return x - jnp.asarray(self.centre, x.dtype)

    @property
    def minimum(self):
        return 0.0

    def smoothness(self, L1):
        return 1.0


CENTRES = np.random.default_rng(1).normal(size=(COUNT, DIM)) * 1.6
SPREAD = float(np.mean(np.sum((CENTRES - CENTRES.mean(0)) ** 2, axis=1)))  # ζ²; 𝔅 = 1
OPTIMUM = CENTRES.mean(0)
MASK = compressor.RandomSparsification(OMEGA)
PLAIN_MASK = compressor.RandomSparsification(OMEGA, scaled=False)


def clients(chosen: compressor.Compressor, mask: str = "own", sigma0: float = 0.0, centres=CENTRES) -> Setup:
    """One agent for each centre."""
    own = noise.Gaussian(sigma0=sigma0)
    return Setup(None, *[Agents(1, own, chosen, Bowl(centre), mask) for centre in centres])


def dcsgd_level(eta: float, sigma0: float, shared: bool) -> float:
    """E f − f* at rest, exactly: tr C = ω mean ‖g_i‖²/N + (1+ω)dσ0²/N with own masks, ω‖g‖² in place of the first with a common one."""
    alone = COUNT if not shared else 1
    growth = 1 + OMEGA / alone
    added = (1 + OMEGA) * DIM * sigma0**2 / COUNT + (0.0 if shared else OMEGA * SPREAD / COUNT)
    return eta / 2 * added / (2 - eta * growth)
