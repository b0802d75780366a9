"""Recipe 1: a compressor, with memory or without."""

import jax.numpy as jnp
import numpy as np
import pytest

import stablestep as ss
from stablestep import compressor
from tests import instances, test_instances, test_spec
from tests.extend.guide import X, drawn, fails, run_doctests
from tests.statistics import assert_covariance, assert_fails, assert_mean


def test_the_compressors_meet_the_contract(one_bit, enter, seed):
    run_doctests(one_bit, "OneBit", "Diana")
    leaf = enter('"one-bit": One', OneBit=one_bit.OneBit)
    memory = enter('"diana"', OneBit=one_bit.OneBit, Diana=one_bit.Diana)
    test_instances.test_the_table_equals_what_is_public(compressor)
    test_instances.test_every_class_of_a_folder_is_public(compressor)
    for name in (leaf, memory):
        test_instances.test_messages_and_memories_keep_shape_and_type(name, jnp.float32, seed)
        test_instances.test_bits(name)
        test_instances.test_the_constructor_arguments_give_the_instance_again(instances.COMPRESSORS[name])
        test_instances.test_what_does_not_contract_says_so(name)
    test_instances.test_facts_are_true_of_messages(leaf, seed)
    test_instances.test_mean_and_error_are_as_stated(leaf, seed)
    test_instances.test_facts_are_true_of_messages_that_depend_on_earlier_ones(memory, seed)
    test_instances.test_the_delay_of_a_memory_is_how_far_messages_lag(memory, seed)


def test_the_law_of_one_bit_messages(one_bit, seed):
    """Of three agents on f = ‖x‖²/2, g = X: mean g, covariance (‖g‖_∞² − g²)/3."""
    setup = ss.Setup(ss.problem.Quadratic(np.ones(3)), ss.Agents(3, compressor=one_bit.OneBit()))
    mean, covariance = X, np.diag(4.0 - X**2) / 3
    law = ss.message.law(setup)
    np.testing.assert_allclose(law.mean(X), mean, rtol=1e-12)
    np.testing.assert_allclose(law.covariance(X).as_matrix(), covariance, rtol=1e-12)
    messages = drawn(setup, seed)
    assert_mean(messages, mean)
    assert_covariance(messages, covariance, mean=mean)
    with assert_fails("a mean of 1.1 g"):
        assert_mean(messages, 1.1 * mean)
    with assert_fails("a covariance without 1/N"):
        assert_covariance(messages, 3 * covariance, mean=mean)


def test_the_mean_of_a_run_with_memory(one_bit, seed):
    """Messages are unbiased given the memory, so that E x_k = (1 − ηλ)^k x0."""
    curvatures = np.array([1.0, 0.5, 2.0])
    chosen = one_bit.Diana(one_bit.OneBit(), rate=1 / 3)
    setup = ss.Setup(ss.problem.Quadratic(curvatures), ss.Agents(2, compressor=chosen))
    given = {"schedule": ss.schedule.Constant(0.05), "x0": X, "steps": 10, "runs": 4000, "seed": seed}
    found = ss.simulate(setup, **given, final=True, dtype="float64").final_state.values
    assert_mean(found, (1 - 0.05 * curvatures) ** 10 * X)
    with assert_fails("a step more"):
        assert_mean(found, (1 - 0.05 * curvatures) ** 11 * X)


def test_what_is_forgotten_of_a_compressor(add, publish, enter, seed):
    module = add("src/stablestep/compressor/one_bit.py")
    fails(test_instances.test_every_class_of_a_folder_is_public, "and its __all__: Diana, OneBit", compressor)
    publish(compressor, module.OneBit)
    publish(compressor, module.Diana)
    fails(
        test_instances.test_the_table_equals_what_is_public, "no row in tests/instances.py: Diana, OneBit", compressor
    )
    fails(test_spec.test_the_example_names_every_type, "examples/dcsgd.toml: OneBit, Diana", compressor)


@pytest.mark.parametrize("fact", ["bounded", "homogeneous", "omega"])
def test_a_wrong_fact_of_a_compressor_is_caught(one_bit, enter, monkeypatch, seed, fact):
    leaf = enter('"one-bit": One', OneBit=one_bit.OneBit)
    wrong = {"bounded": property(lambda self: True), "homogeneous": property(lambda self: False)}
    monkeypatch.setattr(one_bit.OneBit, fact, wrong.get(fact, lambda self, dim: 0.4))
    test = test_instances.test_mean_and_error_are_as_stated if fact == "omega" else None
    with pytest.raises(AssertionError):
        (test or test_instances.test_facts_are_true_of_messages)(leaf, seed)


@pytest.mark.parametrize("fact", ["sends_signs", "deterministic", "needs_step", "delay"])
def test_a_wrong_fact_of_a_memory_is_caught(one_bit, enter, monkeypatch, seed, fact):
    name = enter('"diana"', OneBit=one_bit.OneBit, Diana=one_bit.Diana)
    monkeypatch.setattr(
        one_bit.Diana, fact, (lambda self, dim: 1.0) if fact == "delay" else property(lambda self: True)
    )
    tests = test_instances
    chosen = tests.test_the_delay_of_a_memory_is_how_far_messages_lag
    if fact != "delay":
        chosen = tests.test_facts_are_true_of_messages_that_depend_on_earlier_ones
    with pytest.raises(AssertionError):
        chosen(name, seed)
