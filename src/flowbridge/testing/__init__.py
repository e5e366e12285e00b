"""The proof that a backend keeps flowbridge's promises: suites that any backend and any store can be put through.

An outside backend passes with one class::

    from flowbridge.testing import BackendSuite

    class TestMine(BackendSuite):
        backend = "mine"
"""

from flowbridge.testing.backends import BackendSuite
from flowbridge.testing.case import Case

__all__ = ["BackendSuite", "Case"]
