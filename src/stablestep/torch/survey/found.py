"""What a probe found, and what follows from it: as a table, as JSON, as a picture."""

import io
import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Console, Group

from stablestep.claim import plain
from stablestep.errors import InvalidInput, require, shown
from stablestep.estimate import AffineVariance, Estimate, Smoothness, Tail
from stablestep.files import write_files
from stablestep.stability.start_point import CriticalStep
from stablestep.theorem import Constants
from stablestep.torch.survey import picture, table
from stablestep.torch.survey.link import Link
from stablestep.torch.survey.points import Point


@dataclass(frozen=True)
class Limit:
    """The largest stable step by one predictor: constant, and η0 of the rule η0/(1 + Ĝ); `reason` says why there is none."""

    predictor: str
    constant: CriticalStep | None
    normalized: CriticalStep | None
    reason: str = ""


@dataclass(frozen=True)
class SurveyReport:
    """The constants of a run, with intervals, and what they allow for plain SGD.

    Intervals of σ0², σ1², ν and ω are to hold the truth in 90 % of cases; those of L0 and L1 say how far the line moves when points are
    drawn anew, and it is the line above what was seen, no bound for what was not.

    Attributes:
        points: of the survey, the first one where the model stands.
        smoothness: L0, L1: the line above ‖∇²f‖ at all points.
        variance: σ0², σ1² of one coordinate of one worker's gradient.
        tail: ν of the noise at the start, and Hill's estimate.
        omega: E‖C(g) − g‖²/‖g‖² as measured (of signs: of their best multiple); stated_omega: the compressor's own, None if it is biased.
        limits: each predictor's steps; `predictor` is the one that `step` and `eta0` rest on.
        constants: for `theorem` and `rule.StepLimit`, None where no theorem covers the compressor.
        normalization: (a, b) of the theorem's safe step 1/(a + b‖∇f‖) at ε = ½, None where no theorem applies.
        bearable_omega: the ω that halves the theorem's step, against no compression, with this noise and this N.
        omega_at_lr: the largest ω at which the theorem allows `lr` (ε → 1), if lr was given; 0 if none does.
        links: the time of a step with and without compression.
    """

    agents: int
    dim: int
    compressor: str
    points: tuple[Point, ...]
    smoothness: Smoothness
    variance: AffineVariance
    tail: Tail | None
    omega: Estimate
    stated_omega: float | None
    limits: tuple[Limit, ...]
    predictor: str
    constants: Constants | None
    normalization: tuple[float, float] | None
    bearable_omega: float | None
    omega_at_lr: float | None
    links: tuple[Link, ...]

    @property
    def step(self) -> CriticalStep | None:
        """The largest stable constant step."""
        return self._chosen.constant

    @property
    def eta0(self) -> CriticalStep | None:
        """The largest stable η0 of `rule.LocalNorms`."""
        return self._chosen.normalized

    @property
    def _chosen(self) -> Limit:
        return next(limit for limit in self.limits if limit.predictor == self.predictor)

    @property
    def grows(self) -> bool:
        """Whether curvature grew with the gradient where the probe looked: L1's interval does not reach 0."""
        return self.smoothness.L1.low > 0

    @property
    def verdict(self) -> str:
        """In sentences."""
        return " ".join(part for part in (self._landscape, self._steps, self._compression) if part)

    @property
    def _landscape(self) -> str:
        norms = [point.gradient_norm for point in self.points]
        seen = f"between gradient norms of {min(norms):.3g} and {max(norms):.3g}"
        if self.grows:
            return f"Curvature grew with the gradient {seen}: no constant step is safe everywhere, so normalize."
        return f"L1 cannot be told from 0 {seen}: nothing there speaks against a constant step."

    @property
    def _steps(self) -> str:
        chosen = self._chosen
        if chosen.constant is None or chosen.normalized is None:
            return f"No step by {self.predictor}: {chosen.reason}."
        steps = f"constant {table.step(chosen.constant)}, η0 of rule.LocalNorms {table.step(chosen.normalized)}"
        return f"Largest stable steps by {self.predictor}: {steps}."

    @property
    def _compression(self) -> str:
        if self.compressor == "Identity()":
            return ""
        paying = [table.rate(link.rate) for link in self.links if link.pays]
        if not paying:
            return f"Compressing makes no step 5 % faster at {', '.join(table.rate(link.rate) for link in self.links)}."
        cost = ""
        if self.bearable_omega is not None and self.stated_omega is not None:
            cost = f", and divides the theorem's step by {1 + self.stated_omega / self.bearable_omega:.3g}"
        return f"Compressing makes a step faster at {', '.join(paying)}{cost}."

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it; what is not finite is None."""
        return plain(
            {
                "agents": self.agents,
                "dim": self.dim,
                "compressor": self.compressor,
                "constants": {
                    "L0": self.smoothness.L0.to_dict(),
                    "L1": self.smoothness.L1.to_dict(),
                    "sigma0_sq": self.variance.sigma0_sq.to_dict(),
                    "sigma1_sq": self.variance.sigma1_sq.to_dict(),
                    "nu": self.tail and self.tail.nu.to_dict(),
                    "hill": self.tail and self.tail.hill.to_dict(),
                    "omega": self.omega.to_dict(),
                },
                "stated_omega": self.stated_omega,
                "variance_is": self.tail and self.tail.variance,
                "limits": {limit.predictor: _limit(limit) for limit in self.limits},
                "predictor": self.predictor,
                "step": self.step and self.step.step,
                "eta0": self.eta0 and self.eta0.step,
                "grows": self.grows,
                "normalization": self.normalization,
                "bearable_omega": self.bearable_omega,
                "omega_at_lr": self.omega_at_lr,
                "links": [
                    vars(link) | {"speedup": link.speedup, "headroom": link.headroom, "pays": link.pays}
                    for link in self.links
                ],
                "points": [_point(point) for point in self.points],
                "verdict": self.verdict,
            }
        )

    def save(self, path: Path | str) -> Path:
        """Write `to_dict()` as JSON.

        Raises:
            InvalidInput: if the file cannot be written.
        """
        return written(path, json.dumps(self.to_dict(), indent=1, ensure_ascii=False).encode())

    def plot(self, path: Path | str) -> Path:
        """Draw curvature against gradient norm with the fitted line, noise against gradient norm, and the tail, into a png, svg or pdf.

        Raises:
            InvalidInput: if the file cannot be written.
        """
        path, buffer = place(path), io.BytesIO()
        kind = path.suffix.lstrip(".").lower() or "png"
        drawn = picture.draw(self)
        if kind not in drawn.canvas.get_supported_filetypes():
            raise InvalidInput(f'path is "{path}", but pictures end in .png, .svg or .pdf.')
        drawn.savefig(buffer, format=kind, dpi=150)
        return written(path, buffer.getvalue())

    def __rich__(self) -> Group:
        return Group(table.constants(self), table.limits(self), table.links(self), self.verdict)

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=110, highlight=False)
        console.print(self)
        return console.file.getvalue().rstrip()  # pyright: ignore[reportAttributeAccessIssue]

    def __repr__(self) -> str:
        return str(self)


def _limit(limit: Limit) -> dict[str, Any]:
    return {"constant": _vars(limit.constant), "normalized": _vars(limit.normalized), "reason": limit.reason}


def _point(point: Point) -> dict[str, Any]:
    return vars(point) | {"gradient_norm": point.gradient_norm, "model": point.model and point.model.step}


def _vars(found: CriticalStep | None) -> dict[str, Any] | None:
    return None if found is None else vars(found)


def place(path: Any) -> Path:
    """`path`, which must name a file."""
    require(isinstance(path, (str, PathLike)), f"path is {shown(path)}, but must name a file.")
    require(Path(path).name, f"path is {shown(str(path))}, but must name a file, such as found.json.")
    return Path(path)


def written(path: Path | str, content: bytes) -> Path:
    """Write a file whole.

    Raises:
        InvalidInput: if it cannot be written.
    """
    path = place(path)
    try:
        write_files({path: content})
    except (OSError, ValueError) as error:  # the second for a name with a 0 in it
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInput(f"{shown(str(path))} cannot be written: {reason}. Choose a folder that exists.") from error
    return path
