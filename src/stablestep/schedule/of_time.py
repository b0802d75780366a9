"""Steps that depend on the time alone."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from stablestep.errors import InvalidInput, at_least_zero, checked, first_line, positive, require, shown, whole
from stablestep.schedule.base import Schedule


class Constant(Schedule):
    """h = η.

    Raises:
        InvalidInput: if η ≤ 0.

    >>> Constant(0.1).phi(2, t=10.0)
    10.0
    """

    eta: float = eqx.field(converter=checked(positive, "eta"))

    def step(self, t, seen):
        return jnp.asarray(self.eta, t.dtype)

    def phi(self, order, t):
        _order(order)
        return float(t)

    def robbins_monro(self):
        return False


class Polynomial(Schedule):
    """h = η (1+t)^-a.

    φ^i = ((1+t)^(1−ia) − 1)/(1 − ia), or ln(1+t) where ia = 1. The Robbins-Monro conditions hold for every a in (0, 1]; φ²/φ¹ decays
    like t^-min(a, 1−a) (with a logarithm at a = ½), not like t^-a as P Section 4 says.

    Raises:
        InvalidInput: if η ≤ 0 or a < 0.

    >>> round(Polynomial(0.1, power=0.25).phi(1, t=10.0), 10), Polynomial(0.1, power=0.5).robbins_monro()
    (6.7201404727, True)
    """

    eta: float
    power: float

    def __init__(self, eta: float, power: float):
        self.eta = positive("eta", eta)
        self.power = at_least_zero("power", power)

    def step(self, t, seen):
        return self.eta * jnp.power(1 + t, -self.power)

    def phi(self, order, t):
        _order(order)
        exponent = 1 - order * self.power
        return math.log1p(t) if exponent == 0 else math.expm1(exponent * math.log1p(t)) / exponent

    def robbins_monro(self):
        return 0 < self.power <= 1


class Custom(Schedule):
    """h = η · function(t) for a JAX function of the time.

    Raises:
        InvalidInput: if η ≤ 0, or the function does not give a number, or is not written with jax.numpy.

    >>> round(Custom(0.1, lambda t: 1 / (1 + t)).phi(1, t=10.0), 10)
    2.3978952728
    """

    eta: float
    function: Callable = eqx.field(static=True)

    def __init__(self, eta: float, function: Callable):
        self.eta = positive("eta", eta)
        require(
            callable(function),
            f"function is {shown(function)}, but must be a function of the time, such as lambda t: 1 / (1 + t).",
        )
        require(_gives_a_number(function), "the schedule's function must give one number for one time.")
        self.function = function

    def step(self, t, seen):
        return self.eta * jnp.asarray(self.function(t), t.dtype)

    def phi(self, order, t):
        _order(order)
        with jax.enable_x64(True):
            from scipy import integrate  # slow to load

            return integrate.quad(lambda s: float(self.function(jnp.asarray(s))) ** order, 0, t, limit=200)[0]


def _gives_a_number(function: Callable) -> bool:
    try:
        found = jax.eval_shape(lambda t: jnp.asarray(function(t), t.dtype), jnp.asarray(0.0))
    except Exception as error:
        raise InvalidInput(
            f"the schedule's function failed on a time with {type(error).__name__} ({first_line(error)}); write it with "
            "jax.numpy, as a function of one number."
        ) from error
    return found.shape == ()


def _order(order: int) -> None:
    whole("order", order, least=1, most=2, hint=": φ¹ and φ² are the ones there are")
