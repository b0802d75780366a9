"""What an agent remembers: wrappers around another compressor, inner first."""

import equinox as eqx
import jax
import jax.numpy as jnp

from stablestep.compressor.base import Compressor
from stablestep.errors import checked, flag, instance, is_number, one_of, positive, require, shown
from stablestep.norms import norm

STEPS = ("inside", "outside")


def momentum(value: float) -> float:
    """β, which must be in [0, 1)."""
    require(is_number(value) and 0 <= value < 1, f"beta is {shown(value)}, but must be in [0, 1), such as 0.9.")
    return float(value)


class Wrapper(Compressor):
    """A compressor around another one, `inner`, which decides on bits, randomness and kind of message."""

    inner: eqx.AbstractVar[Compressor]

    def bits(self, dim, shared=False):
        return self.inner.bits(dim, shared)

    def draws(self, dim):
        return self.inner.draws(dim)

    def contraction(self, dim):
        raise self.no_contraction(f"is not a contraction of the gradient; ask its inner {self.inner.name}")

    @property
    def unbiased(self):
        return False

    @property
    def deterministic(self):
        return self.inner.deterministic

    @property
    def homogeneous(self):
        return self.inner.homogeneous

    @property
    def sends_signs(self):
        return self.inner.sends_signs

    @property
    def bounded(self):
        return self.inner.bounded

    @property
    def remembers(self):
        return True

    @property
    def needs_step(self):
        return self.inner.needs_step

    def delay(self, dim):
        return self.inner.delay(dim)

    def check(self, dim):
        self.inner.check(dim)


def _inner(value: Compressor) -> Compressor:
    return instance("inner", value, Compressor, "TopK(k=1)")


class ErrorFeedback(Wrapper):
    """Error feedback (EF14, EC-SGD): what was not sent is added to what is sent next.

    p = e + ηη_t g, c = C(p), e⁺ = p − c, x⁺ = x − mean of c, e = 0 at the start: the step stands *inside* the memory, so that x − ē
    moves by ηη_t ḡ under every schedule; it needs a step that an agent knows. With `step="outside"` e is in units of the gradient
    (p = e + g, x⁺ = x − ηη_t mean of c), as communication hooks have it; at a constant step and for C(av) = aC(v) both are the same method.
    A step of 0 sends nothing and changes nothing.

    The inner compressor is meant to be contractive (Top-k, scaled sign, a mask with scaled=False). Around an unbiased one with ω > 1 the
    memory grows: E‖e⁺‖² = ω E‖p‖².

    Args:
        inner: what is sent of p.
        step: "inside" or "outside".

    Raises:
        InvalidInput: if `inner` is no compressor, or `step` is unknown; if `inner` starts warm, from a gradient, and the step is inside.

    >>> from stablestep.compressor import TopK
    >>> feedback, nothing = ErrorFeedback(TopK(k=1)), jnp.zeros(0)
    >>> message, memory = feedback.send(nothing, jnp.array([3.0, 2.0]), feedback.memory(*[jnp.zeros(2)] * 2), 0.5)
    >>> message.tolist(), memory[0].tolist()
    ([3.0, 0.0], [0.0, 1.0])
    """

    inner: Compressor = eqx.field(converter=_inner)
    step: str = eqx.field(static=True, default="inside", converter=checked(one_of, "step", options=STEPS))

    def __check_init__(self):
        require(
            self.step == "outside" or not _warm(self.inner),
            f"inner is {shown(self.inner)}, which starts from a gradient, but with the step inside the memory it is given displacements; "
            'use step="outside", or put ErrorFeedback inside.',
        )

    def memory(self, gradient, exact):
        return jnp.zeros_like(gradient), self.inner.memory(gradient, exact)

    def send(self, uniform, gradient, memory, step):
        error, inner = memory
        if self.step == "outside":
            wanted = error + gradient
            sent, inner = self.inner.send(uniform, wanted, inner, step)
            return sent, (wanted - sent, inner)
        wanted = error + step * gradient
        sent, inner = self.inner.send(uniform, wanted, inner, step)
        moves = step != 0
        # The server multiplies by the step what is a displacement already.
        message = jnp.where(moves, sent / jnp.where(moves, step, 1), 0)
        after = wanted - sent, inner
        return message, jax.tree.map(lambda new, old: jnp.where(moves, new, old), after, memory)

    def delay(self, dim):
        alpha = self.inner.contraction(dim)
        return (1 - alpha) / alpha + self.inner.delay(dim)

    @property
    def needs_step(self):
        return self.step == "inside" or self.inner.needs_step

    @property
    def sends_signs(self):
        return self.inner.sends_signs and self.step == "outside"


class EF21(Wrapper):
    """EF21: agent and server keep an estimate of the agent's gradient, and what is sent corrects it (Richtárik et al. 2021).

    G⁺ = G + C(g − G), message G⁺. Before the first message G = 0, so that the first one is C(g); `warm=True` makes the first message
    the exact ∇f_i (inside `Momentum(…, warm=True)` the first stochastic gradient: EF21-SGDM of Fatkhullin et al. 2023).

    Raises:
        InvalidInput: if `inner` is no compressor.

    >>> from stablestep.compressor import TopK
    >>> EF21(TopK(k=1)).send(jnp.zeros(0), jnp.array([3.0, 2.0]), (jnp.array([3.0, 0.0]), ()), 0.1)[0].tolist()
    [3.0, 2.0]
    """

    inner: Compressor = eqx.field(converter=_inner)
    warm: bool = eqx.field(static=True, default=False, converter=checked(flag, "warm"))

    def memory(self, gradient, exact):
        inner = self.inner.memory(gradient, exact)
        # The last entry says whether the first message, which is G itself, has been sent.
        return (exact, inner, jnp.zeros((), bool)) if self.warm else (jnp.zeros_like(gradient), inner)

    def send(self, uniform, gradient, memory, step):
        estimate, inner, *begun = memory
        sent, inner = self.inner.send(uniform, gradient - estimate, inner, step)
        moved = estimate + sent
        if not self.warm:
            return moved, (moved, inner)
        moved = jnp.where(begun[0], moved, estimate)
        return moved, (moved, inner, jnp.ones_like(begun[0]))

    def delay(self, dim):
        alpha = self.inner.contraction(dim)
        return (1 - alpha) / alpha + self.inner.delay(dim)

    @property
    def sends_signs(self):
        return False

    @property
    def bounded(self):
        return False


class Momentum(Wrapper):
    """The average of the agent's own gradients before what follows: v⁺ = βv + (1−β)g, of which `inner` sends a message.

    `Momentum(Sign(), beta=0.9)` is Signum, `Momentum(EF21(TopK(k=1)), beta=1−μ)` EF21-SGDM. v = 0 at the start; `warm=True`: the agent's
    first stochastic gradient.

    Raises:
        InvalidInput: if `inner` is no compressor, or β is not in [0, 1).

    >>> from stablestep.compressor import Sign
    >>> Momentum(Sign(), beta=0.9).send(jnp.zeros(0), jnp.array([2.0]), (jnp.array([-1.0]), ()), 0.1)[0].tolist()
    [-1.0]
    """

    inner: Compressor = eqx.field(converter=_inner)
    beta: float = eqx.field(converter=momentum)
    warm: bool = eqx.field(static=True, default=False, converter=checked(flag, "warm"))

    def memory(self, gradient, exact):
        if self.warm:
            return gradient, self.inner.memory(gradient, gradient)
        return jnp.zeros_like(gradient), self.inner.memory(gradient, exact)

    def send(self, uniform, gradient, memory, step):
        average, inner = memory
        average = self.beta * average + (1 - self.beta) * gradient
        message, inner = self.inner.send(uniform, average, inner, step)
        return message, (average, inner)

    def delay(self, dim):
        return self.beta / (1 - self.beta) + self.inner.delay(dim)


class LocalClip(Wrapper):
    """Clipping of the agent's own gradient before what follows: `inner` sends a message of g min(1, c/‖g‖), c = `threshold`.

    Raises:
        InvalidInput: if `inner` is no compressor, or c is not positive.

    >>> from stablestep.compressor import Identity
    >>> LocalClip(Identity(), threshold=1.0).compress(jnp.zeros(0), jnp.array([3.0, 4.0])).tolist()
    [0.6000000000000001, 0.8]
    """

    inner: Compressor = eqx.field(converter=_inner)
    threshold: float = eqx.field(converter=checked(positive, "threshold"))

    def _clip(self, gradient):
        length = norm(gradient)
        return gradient * jnp.minimum(1, self.threshold / jnp.where(length > 0, length, 1))

    def compress(self, uniform, gradient):
        return self.inner.compress(uniform, self._clip(gradient))

    def memory(self, gradient, exact):
        return self.inner.memory(self._clip(gradient), self._clip(exact))

    def send(self, uniform, gradient, memory, step):
        return self.inner.send(uniform, self._clip(gradient), memory, step)

    @property
    def homogeneous(self):
        return False

    @property
    def is_sign(self):
        return self.inner.is_sign

    @property
    def remembers(self):
        return self.inner.remembers

    @property
    def bounded(self):
        """For every inner compressor that does not add up what it was given."""
        return not self.inner.remembers or self.inner.bounded


def _warm(compressor: Compressor) -> bool:
    """Whether it, or one inside it, starts from a gradient."""
    own = isinstance(compressor, EF21 | Momentum) and compressor.warm
    return own or (isinstance(compressor, Wrapper) and _warm(compressor.inner))
