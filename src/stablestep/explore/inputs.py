"""Constants of a setup as the inputs of the page."""

import math
from typing import Any

import numpy as np

from stablestep.errors import InvalidInput
from stablestep.theorem import Constants


def described(c: Constants, gradient_norm: float, epsilon: float) -> tuple[dict[str, Any], list[str]]:
    """The page's method and its inputs, and in sentences what it cannot show.

    Raises:
        InvalidInput: if it shows no such method.

    >>> described(Constants(L0=1, L1=2, dim=10, omega=[4.0, 8.0]), gradient_norm=1.0, epsilon=0.5)[0]["omega"]
    6.0
    """
    inputs: dict[str, Any] = {
        "method": _method(c),
        "L0": c.smoothness[0],
        "L1": c.smoothness[1],
        "dim": c.dim,
        "count": c.agents,
        "epsilon": epsilon,
        "gradient": gradient_norm,
        "omega": float(np.mean(c.omega)),
        "shared": int(c.shared_mask),
        "sigma0": math.sqrt(float(np.mean(c.sigma0_sq))),
        "sigma1": math.sqrt(float(np.mean(c.sigma1_sq))),
    }
    if c.nu is not None:
        # The page reads the text as infinity.
        inputs |= {"nu": c.nu if math.isfinite(c.nu) else "inf", "scale": float(np.mean(c.scale_max))}
    optional = {"beta": c.beta, "alpha": c.alpha, "clip": c.clip}
    inputs |= {name: value for name, value in optional.items() if value is not None}
    return inputs, _left_out(c)


def _left_out(c: Constants) -> list[str]:
    lists = [each for each in (c.omega, c.sigma0_sq, c.sigma1_sq, c.scale_max) if each is not None]
    sentences = []
    if any(np.ptp(each) > 0 for each in lists):
        sentences.append("Its workers differ; the page shows their means.")
    if c.unlike:
        sentences.append("Its clients have data of their own; the page leaves their dissimilarity out.")
    return sentences


def _method(c: Constants) -> str:
    known = {
        (None, False, False): "sgd",
        (None, False, True): "signs",
        ("HeavyBall", False, False): "momentum",
        ("HeavyBall", False, True): "signs-average",
        ("ErrorFeedback", False, False): "ef",
        (None, True, False): "normalized",
        ("HeavyBall", True, False): "normalized-momentum",
        ("EF21", True, False): "normalized-ef21",
    }
    if c.clip is not None and c.memory is None:
        return "clip"
    found = known.get((c.memory, c.normalized, c.signs))
    if found is None:
        raise InvalidInput(f"the page shows no method with {c.memory}; leave SPEC.toml out to see those it knows.")
    return found
