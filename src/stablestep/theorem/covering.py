"""Which published result covers given constants: the one place that chooses."""

from stablestep.theorem.catalogue import results
from stablestep.theorem.constants import Constants
from stablestep.theorem.result import Result


def covering(c: Constants, **options) -> Result:
    """The result that covers these constants; its step limit as ε → 1 is `Result.edge`.

    All are asked for their hypotheses. Of those that hold, one is preferred that is about this very method (DSGD, DCSGD or DSignSGD), on
    the new SDE, and first in P.

    Args:
        options: form, unit, young, radius: see `theorem.Variant`.

    Raises:
        InvalidInput: where none applies, with what the preferred one lacks.

    >>> compressed = Constants(L0=1, L1=2, dim=10, omega=4.0)
    >>> covering(compressed).name, round(covering(compressed).edge(compressed, gradient_norm=2.0), 12)
    ('4.2', 0.08)
    >>> covering(Constants(L0=1, L1=2, dim=10)).name, covering(Constants(L0=1, L1=2, dim=10, nu=1.0, scale_max=1.0)).name
    ('B.2', '4.3')
    """
    preferred = sorted(results(), key=lambda one: (one.method != c.method, one.sde != "new"))
    chosen = next((one for one in preferred if one.applies(c, **options)), preferred[0])
    chosen.check(c, **options)
    return chosen
