"""The proof that a backend keeps flowbridge's promises: suites that any backend and any store can be put through.

An outside backend passes with one class::

    from flowbridge.testing import BackendSuite

    class TestMine(BackendSuite):
        backend = "mine"

and a store with one fixture::

    from flowbridge.testing import StoreSuite

    class TestMine(StoreSuite):
        @pytest.fixture
        def place(self):
            return "mine://bucket/" + uuid4().hex, {"token": "..."}
"""

from flowbridge.testing.backends import BackendSuite
from flowbridge.testing.case import Case
from flowbridge.testing.stores import StoreSuite

__all__ = ["BackendSuite", "Case", "StoreSuite"]
