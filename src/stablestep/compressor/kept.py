"""How many of a number of things are kept: k of them, or a fraction."""

from stablestep.errors import is_number, require, shown, whole


def checked_amount(name: str, k, fraction) -> tuple[int | None, float | None]:
    """Exactly one of k (a whole number) and a fraction in (0, 1]."""
    require(
        (k is None) != (fraction is None),
        f"{name} needs either k or fraction, but got k = {shown(k)}, fraction = {shown(fraction)}.",
    )
    if k is not None:
        return whole(f"{name}: k", k), None
    fits = is_number(fraction) and 0 < fraction <= 1
    require(fits, f"{name}: fraction is {shown(fraction)}, but must be in (0, 1].")
    return None, float(fraction)


def kept(name: str, k: int | None, fraction: float | None, dim: int) -> int:
    """How many of `dim` things are kept."""
    count = k if k is not None else max(1, round((fraction or 0) * dim))
    require(
        count <= dim, f"{name}: k is {count}, but there are only {dim} to choose from; use k ≤ {dim} or fraction=…."
    )
    return count
