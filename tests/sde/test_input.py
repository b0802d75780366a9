"""Bad input: one sentence that names the value and the way out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep import integrate
from stablestep.compressor import QSGD, Identity, RandK, RandomSparsification, Sign, TopK
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, Minibatch, StudentT
from stablestep.problem import FiniteSum, Function, Quadratic
from stablestep.schedule import Clip, Constant, LocalNorms, StepLimit
from stablestep.sde import loss_process, model
from stablestep.setup import Agents, Setup

PLAIN = Setup(Quadratic([1.0, 2.0]), Agents(2, Gaussian(0.5)))
SILENT = Setup(Quadratic([1.0, 2.0]), Agents(2))
SIGNS = Setup(Quadratic([1.0, 2.0]), Agents(2, StudentT(1.0), Sign()))
STEP = Constant(0.1)


def refuses(match):
    return pytest.raises(InvalidInput, match=match)


@pytest.mark.parametrize("dt", [0.2, 0.0, -0.01, np.nan, np.inf, np.array([0.1, 0.1]), "0.1", [0.1], 1j])
def test_dt_beyond_eta_or_not_positive(dt):
    with refuses(r"dt is .*, but must be in \(0, η\], η = 0.1; η/16 is the default"):
        integrate(model(PLAIN, "new", STEP), x0=1.0, time=1.0, dt=dt)


@pytest.mark.parametrize("time", [0.0, -1.0, np.inf, np.nan, "1", None, [1.0], True])
def test_time(time):
    with refuses("time is .*, but must be a finite number greater than 0"):
        integrate(model(PLAIN, "new", STEP), x0=1.0, time=time)


@pytest.mark.parametrize("kind", ["second", "New", "", None, 3])
def test_unknown_model_lists_the_models(kind):
    with refuses('there is no model "') as caught:
        model(PLAIN, kind, STEP)
    assert all(name in str(caught.value) for name in ("first", "classic", "new", "flip", "principal"))


def test_unknown_form_and_method():
    with refuses('form is "corect"'):
        model(SIGNS, "new", STEP, form="corect")
    with refuses('there is no method "euler-maruyama".*euler'):
        integrate(model(PLAIN, "new", STEP), x0=1.0, time=1.0, method="euler-maruyama")
    with refuses('model is "new".*sde.model'):
        integrate("new", x0=1.0, time=1.0)


@pytest.mark.parametrize(
    ("setup", "kind"),
    [
        (PLAIN, "new"),
        (SILENT, "classic"),
        (SIGNS, "first"),
        (SIGNS, "flip"),
        (SIGNS, "principal"),
        (Setup(PLAIN.problem, Agents(1, Gaussian(1.0), Sign())), "new"),
        (Setup(PLAIN.problem, Agents(1, StudentT(1.0, 0.0), Sign())), "new"),
        (Setup(PLAIN.problem, *SIGNS.groups, *PLAIN.groups), "new"),
    ],
)
def test_printed_where_the_papers_print_nothing_different(setup, kind):
    with refuses("the papers print another formula only for Sign messages under Student-t noise"):
        model(setup, kind, STEP, form="printed")


def test_printed_divides_by_every_scale_and_knows_one_landscape():
    with refuses("divides by every scale of the noise, but one is 0"):
        model(Setup(PLAIN.problem, Agents(1, StudentT(1.0, [0.0, 1.0]), Sign())), "new", STEP, form="printed")
    own = Agents(1, StudentT(1.0), Sign(), problem=Quadratic([3.0, 1.0]))
    with refuses("agents with one landscape"):
        model(Setup(PLAIN.problem, own, *SIGNS.groups), "new", STEP, form="printed")


@pytest.mark.parametrize("df", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("compressor", [Identity(), RandomSparsification(4.0), RandK(1), QSGD(2)])
def test_heavy_tails_name_the_model_that_exists(df, compressor):
    """Student-t with ν ≤ 2 and unbiased messages: no covariance, no SDE; signs have one for every ν."""
    with refuses(
        rf"StudentT noise has no variance here, so {type(compressor).__name__} messages have no SDE; .*Sign\(\)"
    ):
        model(Setup(PLAIN.problem, Agents(2, StudentT(df), compressor)), "new", STEP)
    assert model(Setup(PLAIN.problem, Agents(2, StudentT(df), Sign())), "new", STEP).kind == "new"


@pytest.mark.parametrize("schedule", [LocalNorms(0.1), Clip(0.1, 1.0)])
def test_schedules_of_the_messages_have_no_model(schedule):
    with refuses(f"{type(schedule).__name__} depends on the messages themselves, so it has no continuous model"):
        model(PLAIN, "first", schedule)


def test_a_step_that_follows_all_runs_has_no_model():
    with refuses("a law of all runs together, which has no model of a single path; leave out expectation=True"):
        model(PLAIN, "new", StepLimit("4.2", 0.1, L1=0.0, expectation=True))


def test_schedule_must_be_one():
    with refuses("schedule is 0.1, but must be a Schedule"):
        model(PLAIN, "first", 0.1)
    with refuses("StepLimit without L1 needs gradient_norm"):
        model(PLAIN, "first", StepLimit("4.2", 0.1))
    assert float(model(PLAIN, "first", StepLimit("4.2", 0.1), gradient_norm=2.0).rate(0.0, jnp.ones(2))) <= 1


@pytest.mark.parametrize(("noise", "compressor"), [(Gaussian(1.0), QSGD(2)), (Gaussian(1.0), TopK(1))])
def test_messages_without_closed_moments(noise, compressor):
    with refuses("has no closed form; ask for it by sampling"):
        model(Setup(PLAIN.problem, Agents(1, noise, compressor)), "first", STEP)


def test_signs_of_real_data_have_no_closed_moments():
    data = FiniteSum(lambda x, row: jnp.sum((x - row) ** 2), np.ones((4, 2)), 2)
    with refuses("has no closed form"):
        model(Setup(data, Agents(1, Minibatch(1), Sign())), "first", STEP)


def test_a_dense_covariance_of_many_coordinates():
    with refuses("its root needs d ≤ 512, but d is 513; use RandomSparsification"):
        model(Setup(Quadratic(np.ones(513)), Agents(1, compressor=RandK(3))), "new", STEP)


@pytest.mark.parametrize("setup", [PLAIN, SIGNS, Setup(PLAIN.problem, Agents(1, compressor=RandomSparsification(1.0)))])
def test_principal_is_for_gradient_descent_only(setup):
    with refuses('"principal" is for noiseless gradient descent'):
        model(setup, "principal", STEP)


def test_principal_is_an_ode_and_infinitely_fast_at_one_over_lambda():
    with refuses('is integrated by method="ode" only'):
        integrate(model(SILENT, "principal", STEP), x0=1.0, time=1.0, method="euler")
    with refuses('"principal" is not finite at x0, because an eigenvalue of the Hessian is 1/η there'):
        integrate(model(SILENT, "principal", Constant(0.5)), x0=1.0, time=1.0)


def test_ode_needs_a_model_without_noise():
    with refuses('method="ode" is for models without noise'):
        integrate(model(PLAIN, "new", STEP), x0=1.0, time=1.0, method="ode")


def test_observe_is_for_steps():
    with refuses('observe is not available with method="exact"'):
        integrate(model(PLAIN, "new", STEP), x0=1.0, time=1.0, method="exact", observe=jnp.sum)


ROUGH = Setup(Function(lambda x: jnp.sum(jnp.abs(x) ** 1.5), 2), Agents(1, Gaussian(0.1)))


@pytest.mark.parametrize("kind", ["classic", "new"])
def test_a_second_derivative_that_does_not_exist_at_the_start(kind):
    """|x|^1.5 has a gradient at 0 and no second derivative; "first" needs none."""
    with refuses(f'drift of the model "{kind}" is not finite at x0, because a second derivative of f does not exist'):
        integrate(model(ROUGH, kind, STEP), x0=0.0, time=1.0)
    with refuses("does not exist"):
        loss_process(model(ROUGH, kind, STEP), x0=0.0, time=1.0)
    assert np.all(np.isfinite(model(ROUGH, "first", STEP).drift(0.0, jnp.zeros(2))))


def test_a_kink_that_automatic_differentiation_does_not_see():
    """JAX gives |x| the second derivative 0 everywhere: every model is then the first-order one."""
    setup = Setup(Function(lambda x: jnp.sum(jnp.abs(x)), 2), Agents(1))
    drifts = [
        np.asarray(model(setup, kind, STEP).drift(0.0, jnp.array([1.0, -2.0]))) for kind in ("first", "new", "classic")
    ]
    np.testing.assert_array_equal(drifts[0], drifts[1])
    np.testing.assert_array_equal(drifts[0], drifts[2])


@jax.custom_vjp
def reverse_only(x):
    return jnp.sum(x**2)


reverse_only.defvjp(lambda x: (reverse_only(x), x), lambda x, cotangent: (2 * x * cotangent,))


def test_a_function_that_jax_differentiates_only_once():
    setup = Setup(Function(reverse_only, 2), Agents(1))
    with refuses('the model "new" needs a derivative of Function that JAX cannot take .*use "first"'):
        integrate(model(setup, "new", STEP), x0=1.0, time=1.0)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (dict(x0=np.ones(3)), r"x0 has shape \(3,\)"),
        (dict(x0=np.nan), "not finite"),
        (dict(runs=0), "runs is 0"),
        (dict(record="sometimes"), 'record is "sometimes"'),
        (dict(record=[999]), "between 0 and steps = 160"),
        (dict(radius=-1.0), "radius is -1.0"),
        (dict(dtype="float16"), 'dtype is "float16"'),
    ],
)
def test_what_simulate_refuses_is_refused_too(options, match):
    with refuses(match):
        integrate(model(PLAIN, "new", STEP), **({"x0": 1.0, "time": 1.0} | options))
