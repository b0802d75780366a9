"""Forms, units and Young's inequality: what each makes of L0 + L1‖g‖."""

import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.theorem import Constants, Variant, step_limit
from stablestep.theorem.variant import variant

NORMS = np.geomspace(1e-6, 1e6, 241)
UNITS = [0.05, 1.0, 7.0]


def test_the_papers_unit_is_the_default():
    assert Variant() == Variant(form="corrected", unit=1.0, young=False, radius=None)
    assert Variant().plain and not Variant().printed and Variant(form="printed").printed
    assert not Variant(unit=2.0).plain and not Variant(young=True).plain
    assert Variant().split(Constants(L0=3, L1=2, dim=1)) == (5, 2)
    assert Variant(unit=4.0).split(Constants(L0=3, L1=2, dim=1)) == (11, 0.5)
    assert Variant(unit=4.0, young=True).split(Constants(L0=3, L1=2, dim=1)) == (7, 0.25)


@pytest.mark.parametrize("unit", UNITS)
def test_the_phases_bound_the_curvature_and_youngs_touch_it(unit):
    """L1‖g‖ ≤ c L1/2 + (L1/2c)‖g‖², with equality at ‖g‖ = c; the phases' bound is twice as far away."""
    c = Constants(L0=0.3, L1=2.0, dim=1)
    curvature = 0.3 + 2.0 * NORMS
    bounds = {}
    for young in (False, True):
        constant, growth = Variant(unit=unit, young=young).split(c)
        bounds[young] = constant + growth * NORMS**2
        assert np.all(bounds[young] >= curvature * (1 - 1e-14))
        assert constant + growth * unit**2 == pytest.approx(0.3 + 2.0 * unit * (1 if young else 2), rel=1e-14)
    assert np.all(bounds[True] < bounds[False])


@pytest.mark.parametrize("unit", UNITS)
def test_youngs_inequality_is_better_at_every_unit(unit):
    noisy = Constants(L0=1, L1=2, dim=3, sigma0_sq=0.5)
    phases, young = (step_limit("4.2", noisy, 1.0, 0.5, unit=unit, young=young) for young in (False, True))
    assert young > phases
    signs = Constants(L0=1, L1=2, dim=3, nu=1, scale_max=0.5)
    phases, young = (step_limit("4.3", signs, radius=2.0, unit=unit, young=young) for young in (False, True))
    assert young == pytest.approx(2 * phases, rel=1e-14)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "prnted"}, 'form is "prnted", but must be "corrected" or "printed"'),
        ({"unit": 0.0}, r"unit is 0\.0.*greater than 0"),
        ({"unit": np.inf}, "unit is inf"),
        ({"radius": -1.0}, r"radius is -1\.0.*greater than 0"),
        ({"radius": np.nan}, "radius is nan"),
        ({"yung": True}, 'no option "yung". Did you mean "young"'),
    ],
)
def test_bad_input(options, message):
    for use in (variant, lambda given: step_limit("4.2", Constants(L0=1, L1=1, dim=1), 1.0, 0.5, **given)):
        with pytest.raises(InvalidInput, match=message):
            use(options)
