"""Gradients that any framework made: converted, or refused in a sentence."""

from decimal import Decimal

import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.estimate import affine_variance, of_mean, smoothness, tail
from stablestep.estimate.value import numbers, unit

torch = pytest.importorskip("torch")
GRADIENTS = np.random.default_rng(0).standard_t(3, (64, 50))
LINE = np.linspace(0.5, 8, 16)  # exact in bfloat16
MADE = {
    "list": lambda x: x.tolist(),
    "float16": lambda x: x.astype(np.float16),
    "jax": jnp.asarray,
    "jax bfloat16": lambda x: jnp.asarray(x, jnp.bfloat16),
    "tensor": torch.tensor,
    "bfloat16": lambda x: torch.tensor(x).bfloat16(),
    "float16 tensor": lambda x: torch.tensor(x).half(),
    "with a gradient": lambda x: torch.tensor(x, requires_grad=True),
    "a parameter": lambda x: torch.nn.Parameter(torch.tensor(x)),
    "bfloat16 with a gradient": lambda x: torch.tensor(x, requires_grad=True).bfloat16(),
    "a list of tensors": lambda x: [torch.tensor(row, requires_grad=True) for row in x],
    "a conjugate view": lambda x: torch.tensor(x + 0j).conj().real,
}


@pytest.mark.parametrize("kind", MADE)
def test_any_frameworks_arrays_are_numbers(kind):
    made = MADE[kind](LINE)
    assert numbers("curvature", made).tolist() == LINE.tolist() and numbers("curvature", made).dtype == np.float64
    assert smoothness(made, made).L1.value == pytest.approx(1.0)
    assert affine_variance(made, made).sigma1_sq.value == pytest.approx(1.0)
    assert of_mean(made).value == LINE.mean()
    found = tail(MADE[kind](GRADIENTS)).nu
    assert found.value == pytest.approx(tail(GRADIENTS).nu.value, rel=0.02)


USES = {
    "gradients": tail,
    "gradient_norm": lambda x: smoothness(x, LINE),
    "curvature": lambda x: smoothness(LINE, x),
    "gradient_sq": lambda x: affine_variance(x, LINE),
    "variance": lambda x: affine_variance(LINE, x),
    "samples": of_mean,
}
OTHERS = {
    "complex": (LINE + 1j, "holds complex128 values, but must hold real numbers; give an array of floats"),
    "complex list": ([1j, 2.0, 3.0], "holds complex128 values"),
    "complex tensor": (torch.tensor(LINE + 1j, requires_grad=True), "cannot be read as numbers .*; give a NumPy array"),
    "texts": (["1", "2", "3"], "real numbers"),
    "bools": (LINE > 2, "holds bool values"),
    "dates": (np.array(["2020-01-01"] * 3, "M8[D]"), "real numbers"),
    "objects": ([Decimal(1), Decimal(2), Decimal(3)], "holds object values"),
    "none": (None, "holds object values"),
    "ragged": ([[1.0], [1.0, 2.0]], "is a list that cannot be read as numbers"),
    "sparse": (torch.tensor(LINE).to_sparse(), "is a Tensor that cannot be read as numbers"),
    "a generator": ((x for x in LINE), "holds object values"),
}


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_number_is_refused_in_a_sentence(kind, name):
    given, message = OTHERS[kind]
    with pytest.raises(InvalidInput, match=f"^{name} .*{message}") as caught:
        USES[name](given)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("value", "power"), [(1.0, 1.0), (1.5, 1.0), (2.0, 2.0), (1e308, 2.0**1023), (5e-324, 5e-324), (0.0, 1.0)]
)
def test_a_unit_is_a_power_of_two_that_divides_exactly(value, power):
    assert unit(np.array([value / 3, -value])) == power
