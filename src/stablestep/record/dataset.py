"""From recorded paths to an `xarray.Dataset`: statistics that never hide a diverged run."""

import datetime
import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from jaxtyping import Int

from stablestep.later import xarray as xr
from stablestep.record.engine import Paths

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
NAMES = (  # of what a result holds already
    *(
        "loss_mean",
        "loss_stderr",
        "loss_mean_surviving",
        "loss_quantile",
        "gradient_norm_mean",
        "gradient_norm_quantile",
    ),
    *("diverged", "divergence_iteration", "divergence_time", "final_state", "bits", "integration_error"),
    *("integration_error_stderr", "time", "iteration", "quantile", "run", "coordinate"),
)


def dataset(paths: Paths, recorded: Int[np.ndarray, " times"], dt: float, eta: float, attrs: dict) -> "xr.Dataset":
    """Statistics over runs at the recorded times: step numbers times dt; iterations are times over η.

    A diverged run counts as +∞ in quantiles, `loss_mean` is ∞ from the first divergence on, and `loss_mean_surviving` is the mean
    of the runs that are left (a biased one: read it with `diverged`, the fraction that is gone).
    """
    gone = (paths.diverged_at[:, None] >= 0) & (paths.diverged_at[:, None] <= recorded)
    loss = np.where(gone, np.inf, paths.loss.astype(np.float64))
    norm = np.where(gone, np.inf, paths.gradient_norm.astype(np.float64))
    when = np.where(paths.diverged_at < 0, np.nan, paths.diverged_at.astype(float))
    each = 1 if dt == eta else dt / eta
    variables = {
        "loss_mean": ("time", _mean(loss)),
        "loss_stderr": ("time", _stderr(loss)),
        "loss_mean_surviving": ("time", _surviving_mean(loss, gone)),
        "loss_quantile": (("quantile", "time"), _quantile(loss)),
        "gradient_norm_mean": ("time", _mean(norm)),
        "gradient_norm_quantile": (("quantile", "time"), _quantile(norm)),
        "diverged": ("time", gone.mean(axis=0)),
        "divergence_iteration": ("run", when * each),
        "divergence_time": ("run", when * dt),
    }
    for name, values in paths.observed.items():
        variables[name] = (("run", "time", *(f"{name}_{i}" for i in range(values.ndim - 2))), _masked(values, gone))
    if paths.final.shape[1]:
        variables["final_state"] = (("run", "coordinate"), paths.final)
    coordinates = {"time": recorded * dt, "iteration": ("time", recorded * each), "quantile": list(QUANTILES)}
    described = xr.Dataset(variables, coordinates, attrs)
    described["time"].attrs["long_name"] = "t = kη"
    return described


def _mean(values):
    with np.errstate(over="ignore", invalid="ignore"):
        return values.mean(axis=0)


def _stderr(values):
    """Standard error of the mean; infinite where a run has diverged, NaN for a single run."""
    if len(values) < 2:
        return np.full(values.shape[1], np.nan)
    finite = np.all(np.isfinite(values), axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(finite, np.where(finite, values, 0).std(axis=0, ddof=1) / np.sqrt(len(values)), np.inf)


def _surviving_mean(loss, gone):
    left = (~gone).sum(axis=0)
    total = np.where(gone, 0, loss).sum(axis=0)
    return np.where(left > 0, total / np.maximum(left, 1), np.nan)


def _quantile(values):
    """Order statistics, so that infinities stay where they belong instead of being interpolated."""
    return np.quantile(values, QUANTILES, axis=0, method="higher")


def _masked(values, gone):
    mask = gone.reshape(gone.shape + (1,) * (values.ndim - 2))
    return np.where(mask, np.nan, values.astype(np.float64))


def provenance(**entries) -> dict:
    """The attributes of a Dataset: what was run, with which versions, when."""
    packages = {f"version_{name}": _version(name) for name in ("stablestep", "jax", "numpy")}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {**entries, **packages, "version_python": platform.python_version(), "created": now}


@lru_cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
