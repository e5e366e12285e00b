"""The whole conformance suite on the inline backend."""

from flowbridge.testing import BackendSuite


class TestInline(BackendSuite):
    """Every case, and twenty flows made by chance."""

    backend = "inline"
    random_seeds = range(20)
