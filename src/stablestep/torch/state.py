"""What the hook knows: the compressor, whose randomness it uses, the parameters, and what the exchanges measured."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist

from stablestep.compressor import Compressor, Identity, Sign
from stablestep.errors import InvalidInput, require
from stablestep.torch.codec import Codec
from stablestep.torch.compress import codec
from stablestep.torch.draw import Draw, drawer
from stablestep.torch.meter import Meter
from stablestep.torch.roster import Roster

Tensor = torch.Tensor
_COUNTERS = ("exchanges", "skipped", "bytes_total")


class HookState:
    """State of the communication hook `hook`.

    Each parameter is compressed by itself, with uniforms of the generator (seed, step, parameter), or of (seed, step, parameter, worker)
    for own masks. The mean of the workers' gradient norms travels in the last bucket; where a gradient is not finite, all workers learn it
    from there, the last bucket becomes NaN everywhere (so that a GradScaler sees it too), and `StableStep` skips the step.

    Args:
        compressor: of `stablestep.compressor`: Identity, RandomSparsification, RandK, QSGD, TernGrad, NaturalCompression, Sign, TopK.
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
        _whole("seed", seed)
        _whole("min_numel", min_numel)
        _whole("group_bytes", group_bytes)
        _choices(compressor, mask, min_numel, scaler)
        self.compressor, self.mask, self.seed, self.min_numel = compressor, mask, seed, min_numel
        self.scaler, self.process_group = scaler, process_group
        self.roster, self.meter = Roster(), Meter()
        self._codec, self._dense = codec(compressor, vote), codec(Identity())
        self._checked: set[int] = set()  # numbers of entries that the compressor can take
        self.workers = self.rank = 0
        self.group_bytes = group_bytes
        self.groups: list[list[Tensor]] = []
        self.exchange: Any = None  # of the backward that goes on

    def join(self) -> None:
        """Look at the process group, once."""
        if self.workers:
            return
        self.workers, self.rank = dist.get_world_size(self.process_group), dist.get_rank(self.process_group)
        if self.workers == 1:
            warnings.warn(
                "The process group has one worker, so compression saves nothing; training goes on.", stacklevel=2
            )

    def begin(self) -> None:
        """The first bucket of a backward."""
        self.join()
        self.meter.begin(float(self.scaler.get_scale()) if self.scaler is not None else 1.0)

    def codec_for(self, parameter: Tensor) -> Codec:
        """How this parameter is sent.

        Raises:
            InvalidInput: if it is too small for the compressor.
        """
        size = parameter.numel()
        if size < max(1, self.min_numel):
            return self._dense
        if size in self._checked:
            return self._codec
        try:
            self.compressor.check(size)
        except InvalidInput as error:
            shape = tuple(parameter.shape)
            raise InvalidInput(f"A parameter of shape {shape}: {error} Or leave it raw with min_numel=….") from error
        self._checked.add(size)
        return self._codec

    def draw(self, parameter: Tensor, like: Tensor, worker: int | None) -> Draw:
        """The uniforms of this step and parameter; of one worker, or (None) those that all share."""
        return drawer(like, self.seed, self.meter.exchanges, self.roster.number(parameter), worker)

    @property
    def shared(self) -> bool:
        """Whether all workers use the same randomness."""
        return self.mask == "shared"

    def telemetry(self) -> dict[str, float]:
        """Measures of the last exchange and of the run, as floats.

        bytes_sent (over this worker's link: an all-reduce of S bytes sends 2 (N−1)/N · S, an all-gather (N−1) · S), bytes_payload (handed
        to the collectives), bytes_total (sent since the start), compression_error (this worker's ‖C(g) − g‖²/‖g‖²; for signs that of
        their best multiple), mean_norm, local_norm, step (the learning rate that was used; NaN without `StableStep`), skipped
        (exchanges with a gradient that is not finite), exchanges.
        """
        return self.meter.telemetry(self.rank)

    def state_dict(self) -> dict[str, Any]:
        """Plain whole numbers, to be saved beside those of the model and the optimizer."""
        self.meter.settle()
        counters = {name: getattr(self.meter, name) for name in _COUNTERS}
        return {**counters, "seed": self.seed, "sizes": self.roster.sizes}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on where a saved state was; training is then bit for bit what it would have been.

        Raises:
            InvalidInput: if something is missing, the seed is another one, or the parameters are.
        """
        missing = {*_COUNTERS, "seed", "sizes"} - set(saved)
        require(not missing, f"the saved state lacks {', '.join(sorted(missing))}; it is not one of HookState.")
        require(
            saved["seed"] == self.seed,
            f"seed is {self.seed}, but the saved run has {saved['seed']}; resume with that one.",
        )
        self.roster.expect(saved["sizes"])
        self.meter.settle()
        for name in _COUNTERS:
            setattr(self.meter, name, int(saved[name]))


def _whole(name: str, value: int) -> None:
    require(isinstance(value, int) and value >= 0, f"{name} is {value}, but must be a whole number of at least 0.")


def _choices(compressor: Compressor, mask: str, min_numel: int, scaler: Any) -> None:
    require(mask in ("own", "shared"), f'mask is "{mask}", but must be "own" or "shared".')
    require(
        min_numel == 0 or not isinstance(compressor, Sign),
        f"min_numel is {min_numel}, but one step cannot fit both signs and raw gradients; use min_numel=0 with Sign.",
    )
    require(
        scaler is None or callable(getattr(scaler, "get_scale", None)),
        f"scaler is {scaler}, but must be a torch.amp.GradScaler.",
    )
