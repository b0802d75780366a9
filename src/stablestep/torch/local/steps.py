"""Many steps without communication, then one exchange of compressed differences and an outer step."""

from collections.abc import Mapping
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch.optim import Optimizer

from stablestep.compressor import Blockwise, Compressor, ErrorFeedback
from stablestep.described import describe
from stablestep.errors import InvalidInput, one_of, require, seed_of, whole
from stablestep.torch.exchange.agreement import agree
from stablestep.torch.local import checks, saved, workers
from stablestep.torch.local.anchor import Anchor
from stablestep.torch.local.buffers import Buffers
from stablestep.torch.local.inner import Inner
from stablestep.torch.local.lengths import Lengths
from stablestep.torch.local.line import Line
from stablestep.torch.local.meter import Meter
from stablestep.torch.local.notes import any_changed, note, steps_of
from stablestep.torch.local.shot import WHAT, AllGather, Shot, TwoShot
from stablestep.torch.local.vector import Vector, shards
from stablestep.torch.wire.codec import squared_norm

EXCHANGES = {"two-shot": TwoShot, "all-gather": AllGather}
_KEYS = (
    "settings",
    "workers",
    "rank",
    "counters",
    "point",
    "memory",
    "kept",
    "parameters",
    "buffers",
    "before",
    "outer",
)


class LocalSteps:
    """Local steps: each worker trains alone for H steps, then all move together, by what each of them found.

    ```python
    local = sst.LocalSteps(model, optimizer, every=16, compressor=C.ErrorFeedback(C.Blockwise(bits=2)))
    for x, y in data:                     # each worker's own
        optimizer.zero_grad()
        loss(model(x), y).backward()
        local.step()                      # instead of optimizer.step()
    local.synchronize()                   # the last, shorter round
    ```

    With x the point where the round began and x_i where worker i is after H of its own steps:

        p_i = e_i + x − x_i,  c_i = C(p_i),  e_i⁺ = p_i − c_i,  x⁺ = outer(x, M),  x_i⁺ = x⁺

    with M the mean of the c_i. In the two-shot exchange the vector of all parameters is divided among the workers in whole blocks, and who
    owns a part sends q = C(r + mean of the c_i) of it to all, r⁺ = r + mean of the c_i − q; then M is made of these q. A worker sends
    2 (N−1)/N p bytes a round, p those of one message, however many workers there are; all-gather sends (N−1) p. After a round the
    parameters are bit for bit the same on all workers.

    * The message is a displacement, with the learning rates of all H steps in it, so e_i is one too, whichever `step` ErrorFeedback
      names; the outer step stands outside. Without ErrorFeedback nothing is remembered, and r neither.
    * The inner optimizer's state (Adam's moments) is kept across rounds and never sent. Schedulers act on the inner optimizer as always.
    * Parameters that the optimizer does not hold, or that need no gradient, are not sent. Differences are computed in float32 (float64 if
      a parameter is); half precision is rounded from a common point that is kept in float32.
    * Floating-point buffers that changed on any worker (BatchNorm's running means) are averaged at each round, uncompressed; others stay
      as they are.
    * A worker whose parameters are not finite at a round makes all workers skip it: all go back to x, no memory changes, and neither do x
      and the outer optimizer; a worker's inner state begins anew for the parameters where it is not finite. It is counted and warned of.
    * All workers must make the same number of steps; one that is alone in a round waits for the others until the group's timeout.

    At the start all parameters and buffers become those of the group's first worker.

    Args:
        model: the bare model; not one in DistributedDataParallel or FSDP.
        optimizer: the inner one, over the model's parameters.
        every: H, 16 by default; or (8, 24) for rounds that grow from 8 to 24 steps over a run of `total` steps.
        compressor: C, or ErrorFeedback(C) with memories; by default ErrorFeedback(Blockwise(bits=2)). It acts on a worker's part (in an
            all-gather on all parameters) as one vector: prefer a fraction to a k.
        outer: an optimizer over the same parameters, taken over to move x; by default SGD(lr=.7, momentum=.6, nesterov=True).
        exchange: "two-shot" or "all-gather".
        total: steps of the run, where `every` changes.
        seed: of the compressor's randomness.
        scaler: a GradScaler, with which `step` then makes the inner step; call its `update` as always. Scales differ between workers.
        process_group: of the workers, if it is not the default one.
        max_consecutive_skips: that many skipped rounds in a row raise, on all workers alike; None for never.

    Raises:
        InvalidInput: if an argument is of the wrong kind or out of range, or the workers were given different ones.
        RuntimeError: if a worker is gone.

    Source: Douillard et al. 2023 (DiLoCo) for the two optimizers; Seide et al. 2014 for the memories.

    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    >>> model = torch.nn.Linear(2, 1)
    >>> local = LocalSteps(model, torch.optim.AdamW(model.parameters()), every=2, compressor=ErrorFeedback(Blockwise(bits=2)))
    >>> for _ in range(5):
    ...     model(torch.ones(2)).sum().backward()
    ...     local.step()
    >>> local.telemetry()["rounds"], local.telemetry()["steps"]
    (2.0, 5.0)
    >>> dist.destroy_process_group()
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: Optimizer,
        every: int | tuple[int, int] = 16,
        compressor: Compressor | None = None,
        outer: Optimizer | None = None,
        exchange: str = "two-shot",
        *,
        total: int | None = None,
        seed: int = 0,
        scaler: Any = None,
        process_group: dist.ProcessGroup | None = None,
        max_consecutive_skips: int | None = 20,
    ):
        self.model, self.inner = checks.bare(model), Inner(checks.inner(optimizer), checks.scales(scaler))
        self.lengths, kind = Lengths(every, total), EXCHANGES[one_of("exchange", exchange, EXCHANGES)]
        most = None if max_consecutive_skips is None else whole("max_consecutive_skips", max_consecutive_skips)
        require(
            outer is not optimizer,
            "outer is the inner optimizer, but must be another one; leave it out for SGD(.7, .6).",
        )
        self.vector = Vector(checks.exchanged(model, optimizer))
        self.group = process_group
        self.workers, self.rank = workers.join(process_group)
        compressor = ErrorFeedback(Blockwise()) if compressor is None else compressor
        sizes = self._parts(kind, compressor)
        chosen, self.remembers = checks.coded(compressor, sizes)
        self.anchor, self.buffers, self.meter = Anchor(self.vector, outer), Buffers(model), Meter(most, self.rank)
        self.settings = self._settings(compressor, exchange, seed_of(seed))
        agree(self.settings | {"outer": self.anchor.described()}, self.workers, process_group, WHAT)
        workers.spread(model, process_group)
        self.anchor.point.copy_(self.vector.read())
        self.buffers.remember()
        self.exchange = kind(Line(chosen, int(seed), self.workers), sizes, self.rank, process_group)
        self.memory = self.anchor.point.new_zeros(sum(sizes) if self.remembers else 0)
        self.kept = self.anchor.point.new_zeros(self.exchange.owned() if self.remembers else 0)

    def _parts(self, kind: type, compressor: Any) -> list[int]:
        dim, inside = sum(self.vector.sizes), getattr(compressor, "inner", compressor)
        return shards(dim, self.workers, getattr(inside, "block", None) or 1024) if kind is TwoShot else [dim]

    def _settings(self, compressor: Any, exchange: str, seed: int) -> dict[str, Any]:
        """Plain values that must be the same on all workers, and when a run is resumed."""
        return {
            "every": self.lengths.described,
            "total": self.lengths.total,
            "compressor": describe(compressor),
            "outer": type(self.outer).__name__,
            "exchange": exchange,
            "seed": seed,
            "sizes": self.vector.sizes,
            "dtype": str(self.vector.dtype),
        }

    @property
    def optimizer(self) -> Optimizer:
        """The inner optimizer."""
        return self.inner.optimizer

    @property
    def outer(self) -> Optimizer:
        """The outer optimizer, whose parameters are the common point."""
        return self.anchor.outer

    @property
    def every(self) -> int:
        """H of the round that goes on."""
        return self.lengths.at(self.meter.steps - self.meter.since)

    def step(self) -> None:
        """One inner step, after a backward; after H of them a round with all workers.

        Raises:
            InvalidInput: if the parameters to train are others than at the start, workers are at different steps, or too many rounds in a
                row were skipped.
            RuntimeError: if a worker is gone.
        """
        self.inner.step()
        self.meter.steps += 1
        self.meter.since += 1
        if self.meter.since >= self.every:
            self.synchronize()

    def synchronize(self) -> None:
        """A round now, unless no step was made since the last one; all workers must call it, for instance after the last step of a run.

        Raises:
            InvalidInput: as `step`.
            RuntimeError: if a worker is gone; then no memory has changed, and the model is this worker's own.
        """
        if not self.meter.since:
            return
        self._require_same_parameters()
        wanted = self._wanted()
        told = note(bool(wanted.isfinite().all()), self.buffers.changed(), self.meter.steps, wanted)
        shot = self.exchange.send(wanted, told, self.meter.rounds, self.kept)
        workers.require_same_steps(steps_of(shot.notes))
        if shot.mean is None:
            self.meter.exchanged(shot.payload, shot.sent)
            self._go_back()
        else:
            self._move(shot, shot.mean, wanted)
        self.buffers.remember()
        self.meter.end(shot.mean is not None)

    def _wanted(self) -> torch.Tensor:
        """p_i."""
        wanted = self.vector.rounded(self.anchor.point).sub_(self.vector.read())
        return wanted.add_(self.memory) if self.remembers else wanted

    def _move(self, shot: Shot, mean: torch.Tensor, wanted: torch.Tensor) -> None:
        means, payload, sent = self.buffers.mean(any_changed(shot.notes), self.workers, self.group)
        # Everything has arrived: from here on nothing fails.
        self.meter.exchanged(shot.payload + payload, shot.sent + sent)
        self.buffers.write(means)
        lost, square = squared_norm(wanted - shot.message), squared_norm(wanted)
        self.meter.error = float(lost / square) if square > 0 else 0.0
        if self.remembers:
            self.memory, self.kept = wanted.sub_(shot.message), shot.kept
        self.anchor.move(mean, self.vector)
        self.vector.write(self.anchor.point)

    def _go_back(self) -> None:
        self.vector.write(self.anchor.point)
        self.buffers.restore()
        self.inner.forget_what_is_not_finite()

    def _require_same_parameters(self) -> None:
        found = checks.exchanged(self.model, self.optimizer)
        same = [id(parameter) for parameter in found] == [id(parameter) for parameter in self.vector.parameters]
        require(
            same and found[0].device == self.anchor.point.device,
            "the parameters that need gradients, or their device, are others than when LocalSteps was made; "
            "call synchronize before such a change, and make a new LocalSteps after it.",
        )

    def telemetry(self) -> dict[str, float]:
        """Measures of the last round and counters of the run, as floats.

        bytes_sent (over this worker's link in the last round, by the count of its collectives), bytes_payload (handed to them), bytes_total
        (sent since the start), compression_error (this worker's ‖C(p) − p‖²/‖p‖²), rounds, skipped (among them), steps, every (H now).
        """
        return self.meter.telemetry(self.every)

    def state_dict(self) -> dict[str, Any]:
        """What this worker needs to go on in the middle of a round, bit for bit, beside the state of the inner optimizer.

        Each worker saves its own: `torch.save({"local": local.state_dict(), "optimizer": optimizer.state_dict()}, f"{rank}.pt")`; it can be
        loaded with weights_only=True. The model's trained parameters and its buffers, which differ between workers, are in it.
        """
        return {
            "settings": self.settings,
            "workers": self.workers,
            "rank": self.rank,
            "counters": self.meter.state_dict(),
            "point": self.anchor.point.clone(),
            "memory": self.memory,
            "kept": self.kept,
            "parameters": self.vector.read(),
            "buffers": {name: buffer.detach().clone() for name, buffer in self.model.named_buffers()},
            "before": self.buffers.before,
            "outer": self.outer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where this worker was; the model's parameters and buffers are set too, the inner optimizer is loaded by itself.

        Raises:
            InvalidInput: if something is missing, or the state is that of another worker, another number of workers, other arguments or
                other parameters; then nothing has changed.
        """
        saved.require_same_run(state, _KEYS, self.settings, self.workers, self.rank)
        buffers = dict(self.model.named_buffers())
        require(
            buffers.keys() == state["buffers"].keys(),
            "the saved state has other buffers than the model; resume with that model.",
        )
        self.outer.load_state_dict(state["outer"])
        with torch.no_grad():
            self.anchor.point.copy_(state["point"])
            for name, buffer in buffers.items():
                buffer.copy_(state["buffers"][name])
        self.vector.write(state["parameters"].to(self.anchor.point))
        self.memory, self.kept = (state[name].to(self.anchor.point).clone() for name in ("memory", "kept"))
        self.buffers.before = {
            name: value.to(self.anchor.point.device).clone() for name, value in state["before"].items()
        }
        self.meter.load_state_dict(state["counters"])

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise InvalidInput(
            "a LocalSteps belongs to its model and its process group, so it cannot be copied or pickled; save local.state_dict()."
        )
