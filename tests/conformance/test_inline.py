"""The whole conformance suite on the inline backend."""

from flowbridge.testing import BackendSuite


class TestInline(BackendSuite):
    """Every case, and twenty flows made by chance."""

    backend = "inline"
    random_seeds = range(20)
    unlike = {"a process dies": "inline runs steps in this very process, which would be gone"}
