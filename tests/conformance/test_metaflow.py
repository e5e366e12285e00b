"""The whole conformance suite on Metaflow's own local runtime."""

import pytest

from flowbridge.testing import BackendSuite

pytest.importorskip("metaflow", reason="Metaflow is not installed: pip install 'flowbridge[metaflow]'")


@pytest.mark.metaflow
class TestMetaflow(BackendSuite):
    """Every case, and a few flows made by chance (each task costs Metaflow half a second)."""

    backend = "metaflow"
    random_seeds = range(2)
