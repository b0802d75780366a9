"""Recipe 2: a server."""

import jax.numpy as jnp
import numpy as np

import stablestep as ss
from stablestep import server
from tests import instances, test_instances, test_spec
from tests.extend.guide import X, fails, run_doctests


def test_the_server(add, enter, monkeypatch, seed):
    module = add("src/stablestep/server.py")
    run_doctests(module, "Optimistic")
    fails(test_instances.test_the_table_equals_what_is_public, "no row in tests/instances.py: Optimistic", server)
    fails(test_spec.test_the_example_names_every_type, "examples/dcsgd.toml: Optimistic", server)
    name = enter('"optimistic"', Optimistic=module.Optimistic)
    test_instances.test_the_table_equals_what_is_public(server)
    test_instances.test_the_constructor_arguments_give_the_instance_again(instances.SERVERS[name])
    for dtype in (jnp.float32, jnp.float64):
        test_instances.test_a_server_turns_messages_into_a_direction(name, dtype)
    test_instances.test_the_delay_is_how_far_the_direction_lags(name, seed)
    monkeypatch.setattr(module.Optimistic, "delay", server.Server.delay)
    test = test_instances.test_the_delay_is_how_far_the_direction_lags
    fails(test, "Optimistic(ahead=0.5) is linear, and its delay is None", name, seed)


def test_the_server_in_a_run(add):
    module = add("src/stablestep/server.py")
    curvatures = np.array([1.0, 0.5, 2.0])
    setup = ss.Setup(ss.problem.Quadratic(curvatures), ss.Agents(1), server=module.Optimistic(0.5))
    given = {"schedule": ss.schedule.Constant(0.1), "x0": X, "steps": 20, "runs": 1, "dtype": "float64"}
    x, before = X, 0.0
    for _ in range(20):
        gradient = curvatures * x
        x, before = x - 0.1 * (1.5 * gradient - 0.5 * before), gradient
    np.testing.assert_allclose(ss.simulate(setup, **given, final=True).final_state.values[0], x, rtol=1e-12)
