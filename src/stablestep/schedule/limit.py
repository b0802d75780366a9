"""Steps that a theorem allows at the path's own gradient norm."""

import equinox as eqx
import jax
import jax.numpy as jnp

from stablestep.errors import InvalidInput, at_least_zero, flag, positive, require, shown, within
from stablestep.schedule.base import Schedule
from stablestep.setup import Setup
from stablestep.theorem import Constants, Variant, constants
from stablestep.theorem import result as find_result

ENSEMBLE = "runs"  # the axis over which runs are mapped


class StepLimit(Schedule):
    """The smaller of η (1+t)^-power and a theorem's limit at the path's own gradient norm:

    h = min(η (1+t)^-a, 2ε/((L0 + L1‖∇f(x)‖) R + L1 F)), R and F as in `theorem.Result`; for signs, a constant limit. This is the
    pathwise rule (P Eqs. 67, 84, 101, 119). The printed rule (P Eqs. 4, 16, 54, 71, 89, 108) has E‖∇f‖ in place of the path's own norm
    and is unsound: rare runs escape. `expectation=True` gives it, as the mean over the runs that are simulated together.

    Args:
        result: the theorem, such as "4.2", "B.2", "4.3" or "S2 4.2".
        eta: η, the cap; t = kη.
        epsilon: ε in (0, 1), which signs do not need.
        L1: which pair (L0, L1) of the problem to use; by default the best one at the first gradient norm.
        power: decay a of the cap.
        constants: `theorem.Constants` to use instead of the setup's own.
        expectation: use the mean of ‖∇f‖ over all runs (unsound, to compare with the papers).
        form: "corrected", or "printed" for the paper's own limit; they differ for signs.

    Raises:
        InvalidInput: for an unknown result, or an ε or η out of range; when it is bound to a setup outside the theorem's hypotheses.

    >>> StepLimit("4.2", eta=0.1, epsilon=0.5).epsilon
    0.5
    """

    eta: float
    epsilon: float
    L1: float | None
    power: float
    constants: Constants | None
    result: str = eqx.field(static=True)
    expectation: bool = eqx.field(static=True)
    form: str = eqx.field(static=True)

    def __init__(
        self,
        result: str,
        eta: float,
        epsilon: float = 0.5,
        L1: float | None = None,
        power: float = 0.0,
        constants: Constants | None = None,
        expectation: bool = False,
        form: str = "corrected",
    ):
        self.result = find_result(result).name
        self.eta = positive("eta", eta)
        self.epsilon = within("epsilon", epsilon, 0, 1, hint=", such as 0.5")
        self.power = at_least_zero("power", power)
        require(
            L1 is None or constants is None,
            f"L1 is {shown(L1)}, but constants hold an L1 of their own; give one or the other.",
        )
        self.L1 = None if L1 is None else at_least_zero("L1", L1)
        self.constants = constants
        self.expectation = flag("expectation", expectation)
        self.form = Variant(form=form).form

    def bind(self, setup, gradient_norm):
        setup.require_memoryless(f"StepLimit (the result {self.result})")
        theorem, c = find_result(self.result), self.constants or self._constants(setup, gradient_norm)
        offset, slope = theorem.normalization(c, self.epsilon, form=self.form)
        rule = " with E‖∇f‖" if self.expectation else ""
        source = Note(f"{theorem.reference}{rule}; L0 = {c.L0:g}, L1 = {c.L1:g}, ε = {self.epsilon:g}")
        return Limited(self.eta, self.power, slope, offset, source, self.expectation)

    def _constants(self, setup: Setup, gradient_norm: float) -> Constants:
        if self.L1 is not None:
            return constants(setup, L1=self.L1)
        require(gradient_norm > 0, "the gradient at x0 is 0, so no pair (L0, L1) is best there; give L1.")
        return constants(setup, gradient_norm=gradient_norm)

    @property
    def needs_ensemble(self):
        return self.expectation

    def step(self, t, seen):
        raise InvalidInput("StepLimit is not bound to a setup; call .bind(setup, gradient_norm) first.")


class Note(str):
    """Text beside a schedule that does not take part in compilation: every note equals every other, so that kernels are shared."""

    def __eq__(self, other):
        return isinstance(other, Note)

    def __ne__(self, other):  # str has one of its own
        return not isinstance(other, Note)

    def __hash__(self):
        return 0


class Limited(Schedule):
    """h = min(η (1+t)^-power, 1/(offset + slope ‖∇f(x)‖)): what `StepLimit` becomes for a given setup."""

    eta: float
    power: float
    slope: float
    offset: float
    source: Note = eqx.field(static=True)
    expectation: bool = eqx.field(static=True, default=False)

    @property
    def needs_ensemble(self):
        return self.expectation

    def step(self, t, seen):
        norm = jax.lax.pmean(seen.gradient_norm, ENSEMBLE) if self.expectation else seen.gradient_norm
        # A product, not a quotient: where nothing limits the step the quotient would be 1/0.
        growth = self.offset + self.slope * norm
        cap = self.eta * jnp.power(1 + t, -self.power)
        return jnp.where(cap * growth <= 1, cap, 1 / growth)
