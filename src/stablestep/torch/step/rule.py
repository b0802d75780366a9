"""Rules for the one scalar that every learning rate is multiplied by, step by step."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist

from stablestep.errors import is_number, positive, require, shown, whole
from stablestep.theorem import Constants
from stablestep.theorem import result as find_result
from stablestep.torch.step.base import Rule, Seen, warn
from stablestep.torch.step.governor.governor import Governor
from stablestep.torch.wire.codec import squared_norm

__all__ = ["Clip", "Constant", "Governor", "LocalNorms", "LossModel", "Rule", "Seen", "StepLimit"]
Tensor = torch.Tensor


class Constant(Rule):
    """The optimizer's own learning rate.

    >>> Constant().factor(Seen(mean_norm=3.0, lr=0.1, initial_lr=0.1, parameters=[]))
    1.0
    """

    def factor(self, seen):
        return 1.0


class LocalNorms(Rule):
    """h = η0/(1 + Ĝ), Ĝ the mean over workers of the norms of their own gradients (P Eq. 147).

    Args:
        eta0: by default the first group's learning rate. A scheduler and other groups act in proportion: h = η0/(1 + Ĝ) · lr/(initial lr of
            the first group whose lr is not 0). With OneCycleLR, which starts far below it, η0 belongs to its peak, `max_lr`. A
            scheduler that goes beyond the initial lr makes steps beyond η0, which is said once.

    Raises:
        InvalidInput: if η0 ≤ 0.

    >>> LocalNorms(eta0=0.5).factor(Seen(mean_norm=3.0, lr=0.5, initial_lr=0.5, parameters=[]))
    0.25
    """

    def __init__(self, eta0: float | None = None):
        self.eta0 = None if eta0 is None else positive("eta0", eta0)
        self._told = False

    def factor(self, seen):
        if self.eta0 is None:
            return 1 / (1 + seen.mean_norm)
        require(
            seen.initial_lr > 0,
            "every learning rate was 0 when StableStep was made, so eta0 has no scale; start with lr=eta0.",
        )
        self._tell(seen.proportion)
        return self.eta0 / seen.initial_lr / (1 + seen.mean_norm)

    def _tell(self, proportion: float) -> None:
        if proportion > 1 + 1e-6 and not self._told:
            self._told = True
            warn(
                f"the learning rate is {proportion:.3g} times the one that eta0 = {self.eta0:g} belongs to, so the step's limit is "
                f"{proportion * (self.eta0 or 0):.3g}; make StableStep with the largest learning rate of the schedule."
            )


class StepLimit(Rule):
    """The smaller of the learning rate and a theorem's limit at the path's own gradient norm, 2ε/((L0 + L1 Ĝ) R + L1 F).

    ‖∇f(x)‖ cannot be seen; Ĝ, the mean of the workers' norms, stands for it and is on average larger, which errs on the safe side.

    Args:
        result: the theorem, such as "4.2" or "B.2"; "4.3" for signs, whose limit is constant.
        constants: `stablestep.theorem.Constants`, given or estimated.
        epsilon: ε in (0, 1), which signs do not need.

    Raises:
        InvalidInput: for an unknown result, constants outside its hypotheses, or ε out of range.

    >>> limit = StepLimit("4.2", Constants(L0=1, L1=1, dim=10, omega=9, count=1), epsilon=0.5)
    >>> round(limit.factor(Seen(mean_norm=1.0, lr=0.5, initial_lr=0.5, parameters=[])), 10)
    0.1
    """

    def __init__(self, result: str, constants: Constants, epsilon: float = 0.5):
        self.result, self.constants, self.epsilon = find_result(result), constants, epsilon
        self.limit(1.0)

    def limit(self, gradient_norm: float) -> float:
        """The largest step at this gradient norm."""
        return self.result.step_limit(self.constants, gradient_norm, self.epsilon)

    def factor(self, seen):
        return min(1.0, self.limit(seen.mean_norm) / seen.lr) if seen.lr > 0 else 1.0


class Clip(Rule):
    """Gradient clipping, the baseline everyone knows: the mean message M times min(1, threshold/‖M‖); the learning rate stays.

    Raises:
        InvalidInput: if threshold ≤ 0.

    >>> Clip(threshold=1.0).threshold
    1.0
    """

    def __init__(self, threshold: float):
        self.threshold = positive("threshold", threshold)

    def factor(self, seen):
        norm = math.sqrt(sum(map(_square, seen.messages)))
        if norm > self.threshold:
            for message in seen.messages:
                message.mul_(self.threshold / norm)
        return 1.0


class LossModel(Rule):
    """The smaller of the learning rate and the step at which a quadratic model of the loss stops to promise: 2ε ⟨∇f, M⟩ / MᵀHM.

    M is the mean message, so that with its noise the model is E f(x − hM) = f − h ∇f·m + h²/2 (mᵀHm + tr(HC)/N). Every m steps one gradient
    and one Hessian-vector product of `loss` measure both products on each worker, and one small all-reduce averages them; running
    sums forget by `memory` at each measurement. At ε = ½ the step minimises the model. Where the curvature along M, or the slope, is not
    positive, the model says nothing and the learning rate stays.

    Args:
        loss: a function without arguments that gives the loss on a batch, best another one than the step's, computed with the bare
            model (`ddp.module`): no backward may pass through DDP here.
        every: m.
        epsilon: ε in (0, 1].
        memory: in [0, 1).

    Raises:
        InvalidInput: if an argument is out of range.

    >>> x = torch.tensor([1.0], requires_grad=True)
    >>> x.grad = torch.tensor([4.0])
    >>> rule = LossModel(lambda: (2 * x**2).sum(), every=1)
    >>> rule.factor(Seen(mean_norm=4.0, lr=1.0, initial_lr=1.0, parameters=[x]))
    0.25
    """

    def __init__(self, loss: Callable[[], Tensor], every: int = 10, epsilon: float = 0.5, memory: float = 0.9):
        require(callable(loss), f"loss is {shown(loss)}, but must be a function without arguments that gives the loss.")
        require(
            is_number(epsilon) and 0 < float(epsilon) <= 1,
            f"epsilon is {shown(epsilon)}, but must be above 0 and at most 1.",
        )
        require(
            is_number(memory) and 0 <= float(memory) < 1,
            f"memory is {shown(memory)}, but must be at least 0 and below 1.",
        )
        self.loss, self.every, self.epsilon, self.memory = loss, whole("every", every), float(epsilon), float(memory)
        self.steps, self.slope, self.curvature = 0, 0.0, 0.0

    def factor(self, seen):
        if self.steps % self.every == 0:
            self._remember(*self._measure(seen))
        self.steps += 1
        if self.curvature <= 0 or self.slope <= 0 or seen.lr <= 0:
            return 1.0
        return min(1.0, 2 * self.epsilon * self.slope / (self.curvature * seen.lr))

    def _measure(self, seen: Seen) -> tuple[float, float]:
        """⟨∇f, M⟩ and MᵀHM, averaged over workers."""
        parameters = [parameter for parameter in seen.parameters if parameter.grad is not None]
        require(
            not any(map(_is_sharded, parameters)),
            "the model is sharded, and FSDP gives no second derivatives, which LossModel needs; use another rule, such as LocalNorms.",
        )
        slope, curvature = products(self.loss, parameters, seen.messages)
        both = torch.stack([slope, curvature])
        if dist.is_initialized():
            dist.all_reduce(both, group=seen.process_group)
            both /= dist.get_world_size(seen.process_group)
        return float(both[0]), float(both[1])

    def _remember(self, slope: float, curvature: float) -> None:
        if math.isfinite(slope) and math.isfinite(curvature):
            self.slope = self.memory * self.slope + slope
            self.curvature = self.memory * self.curvature + curvature

    def state_dict(self):
        return {"steps": self.steps, "slope": self.slope, "curvature": self.curvature}

    def load_state_dict(self, saved):
        self.steps, self.slope, self.curvature = (saved[name] for name in ("steps", "slope", "curvature"))


def products(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor], direction: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """∇f·v and vᵀHv (float64) for v = `direction`, by one gradient and one Hessian-vector product."""
    with torch.enable_grad():
        gradient = torch.autograd.grad(loss(), parameters, create_graph=True, materialize_grads=True)
        slope = _dot(gradient, direction)
        bent = torch.autograd.grad(slope, parameters, materialize_grads=True) if slope.requires_grad else direction
    curvature = _dot(bent, direction) if slope.requires_grad else torch.zeros_like(slope)
    return slope.detach().double(), curvature.detach().double()


def _is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")  # a DTensor


def _square(message: Tensor) -> float:
    """‖M‖², of all shards."""
    if _is_sharded(message):
        return float(torch.linalg.vector_norm(message).full_tensor()) ** 2  # type: ignore[attr-defined]
    return float(squared_norm(message.flatten()))


def _dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(left, right)]).sum()
