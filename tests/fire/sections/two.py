"""The section "two"."""

from tests.fire.sections import section


def run(context):
    return section("two", context)
