"""The page about Kubeflow says what the support table says, and names every setting."""

from __future__ import annotations

from flowbridge.backends.kubeflow.options import KubeflowOptions
from flowbridge.backends.kubeflow.support import TABLE
from tests.unit.backends import pages

PAGE = pages.DOCS / "backends" / "kubeflow.md"


def test_page_has_the_support_table() -> None:
    """UPDATE_GOLDEN=1 writes it."""
    pages.has_the_support_table(PAGE, TABLE)


def test_page_names_every_setting() -> None:
    pages.names_every_setting(PAGE, KubeflowOptions)
