"""The section "four"."""

from tests.fire.sections import section


def run(context):
    return section("four", context)
