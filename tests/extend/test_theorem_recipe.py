"""Recipe 4: a theorem."""

import pytest

from stablestep import theorem
from tests.extend.guide import BLOCKS, fails, run_tests
from tests.theorem import test_catalogue, test_covering


@pytest.fixture
def catalogue():
    theorem.results.cache_clear()
    yield theorem
    theorem.results.cache_clear()


def test_the_theorem(add, catalogue, request):
    add("src/stablestep/theorem/gl21.py")
    run_tests(BLOCKS["tests/theorem/test_gl21.py"], request)
    assert "GL 2.1" in [one.name for one in catalogue.results()]
    test_catalogue.test_every_result_is_the_RESULT_of_its_file()
    test_catalogue.test_every_name_means_one_result()
    test_covering.test_no_result_answers_for_a_memory_that_it_does_not_know(memory="HeavyBall", name="GL 2.1")
    fails(test_catalogue.test_every_file_of_a_result_has_its_test, "no tests/theorem/test_NAME.py for gl21")


def test_a_theorem_by_another_name_is_missed_by_a_test(add, catalogue):
    add("src/stablestep/theorem/gl21.py", lambda code: code.replace("RESULT", "THEOREM"))
    assert "GL 2.1" not in [one.name for one in catalogue.results()]
    test = test_catalogue.test_every_result_is_the_RESULT_of_its_file
    fails(test, "theorem/gl21.py calls a result THEOREM, but the catalogue looks for RESULT")


def test_a_file_without_a_theorem_is_missed_by_a_test(add, catalogue):
    add("src/stablestep/theorem/gl21.py", lambda code: code.partition("RESULT")[0])
    fails(test_catalogue.test_every_file_holds_a_result_or_is_used, "theorem/gl21: no RESULT, and nothing imports it")
