"""A survey's findings as tables, and how steps and rates are written."""

import math
from typing import Any

from rich.table import Table

from stablestep.stability.start_point import CriticalStep


def constants(advice: Any) -> Table:
    shown = Table(title=f"{advice.agents} workers, {advice.dim} parameters, {advice.compressor}", title_justify="left")
    for head in ("constant", "value and interval", "what it is"):
        shown.add_column(head)
    per = "of one coordinate of one worker's gradient"
    shown.add_row("L0", str(advice.smoothness.L0), "curvature at gradient 0: ‖∇²f‖ ≤ L0 + L1‖∇f‖ at all points seen")
    shown.add_row("L1", str(advice.smoothness.L1), "how it grows with the gradient")
    shown.add_row("σ0²", str(advice.variance.sigma0_sq), f"variance {per}, gradient 0")
    shown.add_row("σ1²", str(advice.variance.sigma1_sq), "how it grows with ‖∇f‖²")
    if advice.tail is not None:
        shown.add_row("ν", str(advice.tail.nu), f"tail of the noise: its variance is {advice.tail.variance}")
        shown.add_row(
            "Hill", str(advice.tail.hill), "tail index " + ("" if advice.tail.steady else "(moves: no power law)")
        )
    stated = "" if advice.stated_omega is None else f"; the compressor states {advice.stated_omega:.3g}"
    shown.add_row("ω", str(advice.omega), f"‖C(g) − g‖²/‖g‖² as measured{stated}")
    for omega, meaning in (
        (advice.bearable_omega, "halves the theorem's step"),
        (advice.omega_at_lr, "leaves it at your lr"),
    ):
        if omega is not None:
            shown.add_row("ω borne", f"{omega:.3g}", f"with {advice.agents} workers and this noise: {meaning}")
    return shown


def limits(advice: Any) -> Table:
    shown = Table(title="largest stable steps of plain SGD", title_justify="left")
    for head in ("predictor", "constant step", "η0 of η0/(1 + Ĝ)", ""):
        shown.add_column(head)
    for limit in advice.limits:
        chosen = " (the advice)" if limit.predictor == advice.predictor else ""
        shown.add_row(limit.predictor + chosen, step(limit.constant), step(limit.normalized), limit.reason)
    return shown


def links(advice: Any) -> Table:
    shown = Table(title="a step on a link, without overlap", title_justify="left")
    for head in ("link", "uncompressed", "compressed", "faster by", "at best", "pays"):
        shown.add_column(head, justify="right")
    for link in advice.links:
        times = (f"{1e3 * seconds:.3g} ms" for seconds in (link.dense, link.compressed))
        shown.add_row(
            rate(link.rate), *times, f"{link.speedup:.2f}x", f"{link.headroom:.2f}x", "yes" if link.pays else "no"
        )
    return shown


def step(found: CriticalStep | None) -> str:
    if found is None:
        return "–"
    if not math.isfinite(found.step):
        return "without limit"
    return f"{found.step:.3g}" if found.low == found.high else f"{found.step:.3g} ({found.low:.3g} to {found.high:.3g})"


def rate(bits: float) -> str:
    return f"{bits / 1e9:.3g} Gbit/s" if bits >= 1e9 else f"{bits / 1e6:.3g} Mbit/s"
