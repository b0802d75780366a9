"""The section "five"."""

from tests.fire.sections import section


def run(context):
    return section("five", context)
