"""The section "one"."""

from tests.fire.sections import section


def run(context):
    return section("one", context)
