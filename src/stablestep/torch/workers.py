"""N workers in one process, for looking at a training run from outside: gradients, messages as the hook makes them, curvature."""

import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from stablestep.compressor import Compressor, Sign
from stablestep.errors import InvalidInput, require
from stablestep.torch.codec import Codec, squared_norm, working
from stablestep.torch.draw import drawer, mixed
from stablestep.torch.hook import is_sharded, require_dense, require_real
from stablestep.torch.state import HookState

Tensor = torch.Tensor
Batch = Any
Loss = Callable[[torch.nn.Module, Batch], Tensor]
FEWEST = 8


class Workers:
    """`agents` workers that share a copy of the model; points and gradients are flat tensors [d].

    Args:
        model: its parameters are the first point; it is copied, so yours stays as it is.
        loss: loss(model, batch), a scalar.
        batches: at least 8, each as large as one worker's in one step; the first `most` are kept, and workers draw from them.
        agents: N.
        compressor, mask, seed, vote, min_numel: as of `HookState`.

    Raises:
        InvalidInput: if an argument is of the wrong kind, there are too few batches, the loss is no finite scalar that depends on the
            parameters, or a tensor is too small for the compressor.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Loss,
        batches: Iterable[Batch],
        agents: int,
        compressor: Compressor,
        mask: str = "shared",
        seed: int = 0,
        vote: str = "mean",
        min_numel: int = 0,
        most: int = 64,
    ):
        require(
            isinstance(model, torch.nn.Module), f"model is a {type(model).__name__}, but must be a torch.nn.Module."
        )
        require(callable(loss), f"loss is {loss!r}, but must be a function loss(model, batch) that gives a scalar.")
        require(
            isinstance(agents, int) and agents >= 1, f"agents is {agents}, but must be a whole number of at least 1."
        )
        self.model = _copied(model.module if isinstance(model, DistributedDataParallel) else model)
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        require(len(self.parameters) > 0, "the model has no parameters to train.")
        require_real(self.parameters)
        self.buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        self.loss_fn, self.agents = loss, agents
        self.pool = _pool(batches, most)
        # Which codec a parameter has, and what must be refused, is the hook's affair.
        self.state = HookState(compressor, mask=mask, seed=seed, vote=vote, min_numel=min_numel)
        self.codecs = [self.state.codec_for(parameter) for parameter in self.parameters]
        self.sizes = [parameter.numel() for parameter in self.parameters]
        self.double_backward = True
        self._check()

    @property
    def dim(self) -> int:
        """d."""
        return sum(self.sizes)

    @property
    def signs(self) -> bool:
        """Whether messages are signs."""
        return isinstance(self.state.compressor, Sign)

    @property
    def unbiased(self) -> bool:
        """Whether E M = ∇f."""
        return bool(self.state.compressor.unbiased)

    @property
    def omega(self) -> float:
        """ω of the compressor, the largest over the tensors (0 for one that is sent raw).

        Raises:
            InvalidInput: if it is biased.
        """
        compressor = self.state.compressor
        sent = [size for codec, size in zip(self.codecs, self.sizes) if codec.compressor is compressor]
        return max((float(compressor.omega(size)) for size in sent), default=0.0)

    @property
    def devices(self) -> list[int]:
        """Indices of the GPUs that the model is on."""
        return sorted({parameter.device.index or 0 for parameter in self.parameters if parameter.is_cuda})

    def point(self) -> Tensor:
        """The parameters now."""
        return _flat(self.parameters).detach()

    def move(self, point: Tensor) -> None:
        """Make these the parameters."""
        with torch.no_grad():
            for parameter, piece in zip(self.parameters, point.split(self.sizes)):
                parameter.copy_(piece.view_as(parameter))

    def restart(self, point: Tensor) -> None:
        """Make these the parameters, and give the buffers their first values."""
        self.move(point)
        with torch.no_grad():
            for buffer, first in self.buffers:
                buffer.copy_(first)

    def batch(self, *names: int) -> Batch:
        """A batch of the pool, the same for the same names."""
        return self.pool[mixed(self.state.seed, *names) % len(self.pool)]

    def value(self, batches: Sequence[Batch]) -> float:
        """The mean loss."""
        # Not without gradients, which some losses take themselves.
        return sum(float(self.loss_fn(self.model, batch).detach()) for batch in batches) / len(batches)

    def gradient(self, batch: Batch) -> tuple[float, Tensor]:
        """Loss and gradient on one batch."""
        loss = self.loss_fn(self.model, batch)
        return float(loss.detach()), _flat(torch.autograd.grad(loss, self.parameters, materialize_grads=True))

    def gradients(self, *names: int) -> tuple[float, list[Tensor]]:
        """The mean loss and each worker's gradient, on batches with these names."""
        both = [self.gradient(self.batch(*names, worker)) for worker in range(self.agents)]
        return sum(loss for loss, _ in both) / self.agents, [gradient for _, gradient in both]

    def message(self, gradients: Sequence[Tensor], *names: int) -> Tensor:
        """The mean over workers of their messages, as the hook makes it, with the randomness of these names."""
        split = [gradient.split(self.sizes) for gradient in gradients]
        return torch.cat(
            [self._mean(number, [pieces[number] for pieces in split], names) for number in range(len(self.sizes))]
        )

    def _mean(self, number: int, pieces: list[Tensor], names: tuple[int, ...]) -> Tensor:
        codec = self.codecs[number]
        total = torch.zeros_like(working(pieces[0]))
        for worker, piece in enumerate(pieces):
            plan = self.plan(codec, piece, number, None if self.state.shared else worker, names)
            codec.add(total, codec.encode(piece, plan), plan)
        return codec.finish(total.div_(len(pieces))).to(pieces[0].dtype)

    def plan(self, codec: Codec, piece: Tensor, number: int, worker: int | None, names: tuple[int, ...]) -> Any:
        """The randomness of one parameter's message."""
        return codec.plan(drawer(piece, mixed(self.state.seed, *names), 0, number, worker), len(piece))

    def error(self, gradient: Tensor, *names: int) -> float:
        """‖C(g) − g‖²/‖g‖² of one worker's message; for signs that of their best multiple."""
        message = self.message([gradient], *names)
        if self.signs:
            message = message * (gradient @ message / squared_norm(message).clamp(min=1)).to(message)
        size = float(squared_norm(gradient))
        return float(squared_norm(message - gradient)) / size if size > 0 else 0.0

    def curvature(self, batches: Sequence[Batch], direction: Tensor) -> Tensor:
        """Hv of the mean loss on some batches: by double backward, or where the model has none by central differences."""
        product = self._product if self.double_backward else self._difference
        try:
            return torch.stack([product(batch, direction) for batch in batches]).mean(0)
        except RuntimeError:
            # Fused and compiled kernels say so in many words; what is really wrong the differences meet again.
            if not self.double_backward:
                raise
            self.double_backward = False
            return self.curvature(batches, direction)

    def _product(self, batch: Batch, direction: Tensor) -> Tensor:
        loss = self.loss_fn(self.model, batch)
        gradient = _flat(torch.autograd.grad(loss, self.parameters, create_graph=True, materialize_grads=True))
        if not gradient.requires_grad:  # a linear loss, or a kernel that keeps no graph of its backward
            return self._difference(batch, direction)
        bent = torch.autograd.grad(gradient @ direction, self.parameters, materialize_grads=True)
        return _flat(bent).detach()

    def _difference(self, batch: Batch, direction: Tensor) -> Tensor:
        """On the same batch and with the same dropout, so that their noise cancels; steps of the cube root of the precision."""
        here, length = self.point(), float(direction.norm())
        if length == 0:
            return torch.zeros_like(direction)
        reach = torch.finfo(here.dtype).eps ** (1 / 3) * (1 + float(here.norm())) / length
        ends = []
        for sign in (1, -1):
            with torch.random.fork_rng(devices=self.devices):
                self.move(here + sign * reach * direction)
                ends.append(self.gradient(batch)[1])
        self.move(here)
        return (ends[0] - ends[1]) / (2 * reach)

    def _check(self) -> None:
        loss = self.loss_fn(self.model, self.pool[0])
        require(
            isinstance(loss, Tensor) and loss.numel() == 1,
            f"loss gave {_shown(loss)}, but must give a tensor with one number: the mean over the batch.",
        )
        require(loss.requires_grad, "loss does not depend on the model's parameters; compute it with the given model.")
        require(
            bool(torch.isfinite(loss.detach()).all()), f"loss is {float(loss.detach())} at the start; begin elsewhere."
        )
        found = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        for gradient in found:
            if gradient is not None:
                require_dense(gradient)


def _pool(batches: Iterable[Batch], most: int) -> list[Batch]:
    require(
        isinstance(batches, Iterable),
        f"batches is a {type(batches).__name__}, but must be a list of batches, or a loader.",
    )
    pool = list(islice(batches, most))
    require(
        len(pool) >= FEWEST,
        f"batches has {len(pool)} of them, but the noise between batches needs at least {FEWEST}; give more, such as 64.",
    )
    return pool


def _copied(model: torch.nn.Module) -> torch.nn.Module:
    require(not is_sharded(model), f"the model is a {type(model).__name__}, which is sharded; give the whole model.")
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise InvalidInput(
            f"The model cannot be copied ({error}); give one that was freshly built and loaded."
        ) from error


def _shown(loss: object) -> str:
    return f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
