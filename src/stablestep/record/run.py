"""How a Monte Carlo is run, apart from what runs: the arguments that `simulate` and `integrate` share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from stablestep.errors import InvalidInput, first_line, flag, require, seed_of, shown
from stablestep.method import Process
from stablestep.problem import Problem
from stablestep.record.dataset import NAMES
from stablestep.record.engine import Paths, monte_carlo
from stablestep.record.start import ball_radius, cast, describe_start, start

Observed = Callable | Mapping[str, Callable] | None


@dataclass(frozen=True)
class Run:
    """Where runs start, how many there are, with which randomness, and what is kept of them.

    Args:
        x0: a number (for all coordinates), a vector of length d, or a function of a JAX key that draws a point for each run.
        runs: independent runs.
        seed: a whole number in [0, 2⁶⁴).
        observe: a function of x, or a dictionary of such.
        final: keep the last point of each run.
        radius: of the ball whose leaving is divergence; by default 10⁴ max(1, ‖x0‖).

    >>> Run(x0=1.0, observe=lambda x: x).watched.keys()
    dict_keys(['observed'])
    """

    x0: Any
    runs: int = 100
    seed: int = 0
    observe: Observed = None
    final: bool = False
    radius: float | None = None

    def __post_init__(self):
        watched = self.watched
        for name in watched:
            require(
                isinstance(name, str) and name not in NAMES and callable(watched[name]),
                f"observe has {shown(name)}: {shown(watched[name])}, but must map names that the result does not use itself to "
                "functions of x.",
            )
        object.__setattr__(self, "seed", seed_of(self.seed))
        object.__setattr__(self, "final", flag("final", self.final))

    @property
    def watched(self) -> dict[str, Callable]:
        """What is observed, by name."""
        if self.observe is None or callable(self.observe):
            return {} if self.observe is None else {"observed": self.observe}
        fits = isinstance(self.observe, Mapping)
        require(fits, f"observe is {shown(self.observe)}, but must be a function of x, or a dictionary of such.")
        return dict(self.observe)

    def points(self, problem: Problem, dtype: np.dtype) -> Float[Array, "runs d"]:
        """The first points."""
        return start(self.x0, cast(problem, dtype), self.runs, self.seed, dtype)

    def ball(self, points: Float[Array, "runs d"]) -> float:
        """The radius, as given or by default."""
        return ball_radius(self.radius, points)

    def paths(self, process: Process, points: Float[Array, "runs d"], iterations: Int[np.ndarray, " times"]) -> Paths:
        """The runs of a process from these points."""
        arrays, ball = cast(process, points.dtype), self.ball(points)
        for name, function in self.watched.items():
            _check_observed(name, function, points)
        return monte_carlo(arrays, points, iterations, self.seed, ball, self.watched, self.final)

    def facts(self, points: Float[Array, "runs d"]) -> dict[str, Any]:
        """For provenance."""
        return {"x0": describe_start(self.x0), "seed": self.seed, "runs": self.runs, "radius": self.ball(points)}


def _check_observed(name: str, function: Callable, points: Float[Array, "runs d"]) -> None:
    """Raise `InvalidInput` unless a function of x returns a number or an array of numbers."""
    try:
        # By a function of ours, since JAX remembers what it looks at weakly, which NumPy's functions do not bear.
        found: Any = jax.eval_shape(lambda x: function(x), jax.ShapeDtypeStruct(points.shape[1:], points.dtype))
    except Exception as error:  # whatever it raises itself, or JAX of what it returns
        raise InvalidInput(
            f'observe: "{name}" failed with {type(error).__name__} ({first_line(error)}); give a JAX function of x that returns numbers.'
        ) from error
    single = isinstance(found, jax.ShapeDtypeStruct)
    real = single and not jnp.issubdtype(found.dtype, jnp.complexfloating)
    what = f"{found.dtype} values" if single else shown(found) if found is None else f"a {type(found).__name__}"
    require(real, f'observe: "{name}" returned {what}, but must return a real number or one array of them.')
