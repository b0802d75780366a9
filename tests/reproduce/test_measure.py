"""An order as a check: it holds where the errors tell it, and fails where they exclude it."""

import numpy as np
import pytest

from stablestep.compare.scaling import order_table
from stablestep.reproduce.measure import order_check

ETAS = np.array([0.2, 0.1, 0.05, 0.025])


@pytest.mark.parametrize(
    ("error", "predicted", "outcome"),
    [
        (ETAS**2 + ETAS**3, 2, "holds"),
        (ETAS**2 + ETAS**3, 1, "fails"),
        (ETAS + ETAS**2, 2, "fails"),
        # Of one of two orders, neither of which is 3; and of none.
        (ETAS - 2.9 * ETAS**2, 1, "undecided"),
        (ETAS - 2.9 * ETAS**2, 3, "fails"),
        (ETAS - 0.07, 1, "undecided"),
        (ETAS * np.array([1, 1.3, 1, 1.3]), 3, "undecided"),
    ],
)
def test_order_check(error, predicted, outcome):
    check = order_check(order_table(list(ETAS), error, np.zeros(4)), predicted, "slope")
    assert check.outcome == outcome
