"""The section "three"."""

from tests.fire.sections import section


def run(context):
    return section("three", context)
