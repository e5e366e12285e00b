"""The whole conformance suite on the local backend."""

from flowbridge.testing import BackendSuite


class TestLocal(BackendSuite):
    """Every case, and twenty flows made by chance."""

    backend = "local"
    random_seeds = range(20)
