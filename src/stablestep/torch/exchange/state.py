"""The hook's state: settings, the run so far, and the backward that goes on."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist

from stablestep.compressor import Compressor
from stablestep.errors import instance, is_number, require, shown
from stablestep.torch.exchange.agreement import agree
from stablestep.torch.exchange.backward import Backward, Bucket, Future
from stablestep.torch.exchange.memories import require_own, require_sizes
from stablestep.torch.exchange.meter import COUNTERS, Arrival
from stablestep.torch.exchange.run import Run
from stablestep.torch.exchange.settings import Settings


class HookState:
    """State of the communication hook `hook`.

    Each parameter is compressed by itself, with uniforms of the generator (seed, step, parameter), or of (seed, step, parameter, worker)
    for own masks. The mean of the workers' gradient norms travels in the last bucket; where a gradient is not finite, all workers learn it
    from there, the last bucket becomes NaN everywhere (so that a GradScaler sees it too), and `StableStep` skips the step.

    **Memory** is kept for each parameter on its device in single precision (double for parameters of double precision), in units of the
    unscaled gradient: a hook does not know the step, so `ErrorFeedback` is that of step="outside", whatever its `step` says. `EF21` keeps
    this worker's estimate and the mean of all; with warm=True the first message is the first gradient, in full. A skipped exchange changes
    no memory, nor does one whose step `StableStep`'s rule leaves out, nor one in which a parameter's gradient is 0 on all workers (unused
    or frozen there; its message is then 0).

    A deep copy or a pickle, also as a part of its DDP model's, is a new state that goes on where this one was, as through `state_dict`,
    without process group and scaler. torch does not hook a copied model again: to train it, `register` it.

    Before one step there may be several backwards, also without `no_sync`: each sends what is new, its mean message is added to the
    earlier ones in the gradients, and the norms add up too, until the gradients are set to zero or None.

    Args:
        compressor: of `stablestep.compressor`: Identity, RandomSparsification, RandK, QSGD, TernGrad, NaturalCompression, Sign,
            ScaledSign, TopK; masks scaled or not; or ErrorFeedback, EF21, Momentum around one of them; or LowRank, whose vectors are sent
            as they are (its factors are summed in two rounds, the second one at the end of backward).
        mask: "shared" if all workers use the same randomness (masks are then summed on the way, without indices, and the
            compression noise has no 1/N), "own" if each has its own (all-gather; receivers make the indices again from the seed).
        seed: of the run.
        vote: for signs, "mean" of the signs, or "majority", the sign of their sum (0 for a tie).
        min_numel: tensors with fewer entries are not compressed.
        scaler: the run's GradScaler, if it has one: norms are then those of the unscaled gradients, and signs survive the unscaling.
        process_group: of the DDP model, if it is not the default one; `register` sets it.
        group_bytes: gradients of about so many bytes share a collective, which starts while backward goes on.

    Raises:
        InvalidInput: for a compressor without a torch version, or an argument out of range.

    >>> from stablestep.compressor import RandK
    >>> HookState(RandK(fraction=0.01, block=1024)).telemetry()["skipped"]
    0.0
    """

    def __init__(
        self,
        compressor: Compressor,
        mask: str = "shared",
        seed: int = 0,
        vote: str = "mean",
        min_numel: int = 0,
        scaler: Any = None,
        process_group: dist.ProcessGroup | None = None,
        group_bytes: int = 25 * 2**20,
    ):
        require(
            scaler is None or callable(getattr(scaler, "get_scale", None)),
            f"scaler is {shown(scaler)}, but must be a torch.amp.GradScaler.",
        )
        self.settings = Settings(compressor, mask, seed, vote, min_numel, group_bytes)
        self.run, self.scaler = Run(process_group), scaler
        self._backward: Backward | None = None
        self.registered = self.copied = False

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle keeps: the settings and what `state_dict` has, without process group, scaler and running exchange."""
        return {**self.__dict__, "run": self.state_dict(), "scaler": None, "_backward": None}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        self.__dict__.update({**kept, "run": Run(None), "registered": False, "copied": True})
        self.load_state_dict(kept["run"])

    @property
    def process_group(self) -> dist.ProcessGroup | None:
        """Of the DDP model; None is the default one."""
        return self.run.process_group

    def of_all(self) -> dict[str, Any]:
        """What all workers must have alike: the settings, and the number of the next exchange, of which masks are made."""
        return {
            **self.settings.names(),
            "group_bytes": self.settings.group_bytes,
            "exchanges": self.run.meter.exchanges,
        }

    def receive(self, bucket: Bucket) -> Future:
        """A bucket of gradients, which its future gives back as mean messages."""
        self.copied = False
        if self._backward is None or self._backward.is_over(bucket):
            if not self.registered:  # by torch's own `register_comm_hook`, which asks nobody
                self.join()
            self._backward = Backward(self.settings, self.run, self.scale)
        return self._backward.add(bucket)

    def join(self) -> None:
        """Look at the process group, and whether all workers were told the same; a collective.

        Raises:
            InvalidInput: if they were not, or a restored memory is that of another worker.
        """
        self.run.join()
        agree(self.of_all(), self.run.workers, self.run.process_group)
        self.registered = True

    @property
    def scale(self) -> float:
        """By which a GradScaler has multiplied the loss."""
        return float(self.scaler.get_scale()) if self.scaler is not None else 1.0

    @property
    def serial(self) -> int:
        """The number of the last exchange that was looked at; 0 before the first one."""
        return self.run.meter.serial

    def arrival(self) -> Arrival:
        """What the last exchange brought, for whoever makes the step."""
        return self.run.meter.arrival()

    def stepped(self, step: float) -> None:
        """Note the step that is made, for `telemetry`."""
        self.run.meter.step = step
        self.run.memories.accept()

    def refused(self) -> None:
        """The step is left out, on all workers alike, so the message moved nothing: the memories are those of before it."""
        self.run.memories.undo()

    def note(self, loss: float | torch.Tensor) -> None:
        """This worker's loss, before its backward: it rides along with the norms, and rules such as `Governor` see the mean of all.

        Raises:
            InvalidInput: if it is no number or tensor of one number.

        >>> from stablestep.compressor import Sign
        >>> HookState(Sign()).note(1.5)
        """
        self.run.meter.noted = _number(loss)

    def telemetry(self) -> dict[str, float]:
        """Measures of the last exchange and of the run, as floats.

        bytes_sent (over this worker's link: an all-reduce of S bytes sends 2 (N−1)/N · S, an all-gather (N−1) · S), bytes_payload (handed
        to the collectives), bytes_total (sent since the start), compression_error (this worker's ‖C(p) − p‖²/‖p‖², p what was compressed,
        g where nothing is remembered; for signs that of their best multiple), mean_norm, local_norm, step (the learning rate that was used;
        NaN without `StableStep`), skipped (exchanges with a gradient that is not finite), exchanges.
        """
        return self.run.meter.telemetry(self.run.rank)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, words and tensors, to be saved beside the state of the model and the optimizer; loadable with `weights_only=True`.

        Memories differ between workers: save on every worker, and give each its own. Without memory that of one worker serves all.
        """
        run = self.run
        return {
            **run.meter.counters(),
            **self.settings.names(),
            "sizes": run.roster.expected,
            "memory": run.memories.state(),
            **run.memories.owner(run.owner),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on where a saved state was; training is then bit for bit what it would have been.

        Raises:
            InvalidInput: if something is missing, the compressor, mask, vote, min_numel or seed is another one, the parameters are, or
                the memory is that of another worker.
        """
        instance("saved", saved, Mapping, "state.state_dict()")
        wanted = self.settings.names()
        missing = {*COUNTERS, *wanted, "sizes", "rank", "workers", "memory"} - set(saved)
        require(not missing, f"the saved state lacks {', '.join(sorted(missing))}; it is not one of HookState.")
        for name, here in wanted.items():
            require(
                saved[name] == here, f"{name} is {here}, but the saved run has {saved[name]}; resume with that one."
            )
        run, memory, owner = self.run, saved["memory"], (saved["rank"], saved["workers"])
        require_sizes(memory, saved["sizes"])
        if memory:
            require_own(owner, run.owner)
        run.roster.expect(saved["sizes"])
        run.memories.resume(memory, owner)
        run.meter.resume(saved)


def _number(loss: float | torch.Tensor) -> float | torch.Tensor:
    if isinstance(loss, torch.Tensor):
        require(loss.numel() == 1, f"the noted loss is a tensor of shape {tuple(loss.shape)}, but must be one number.")
        value = loss.detach().reshape(()).double()
        return torch.where(value.isnan(), torch.inf, value)  # NaN stands for no loss
    require(is_number(loss), f"the noted loss is {shown(loss)}, but must be a number, or a tensor of one.")
    return math.inf if math.isnan(loss) else float(loss)
