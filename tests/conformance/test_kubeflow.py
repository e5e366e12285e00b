"""The whole conformance suite on Kubeflow pipelines, run by kfp's own local runner."""

import pytest

from flowbridge.testing import BackendSuite

pytest.importorskip("kfp", reason="kfp is not installed: pip install 'flowbridge[kubeflow]'")


@pytest.mark.kubeflow
class TestKubeflow(BackendSuite):
    """Every case, and a few flows made by chance (kfp's local runner takes one task after the other)."""

    backend = "kubeflow"
    settings = {"FLOWBRIDGE_KUBEFLOW__HOST": "local"}
    random_seeds = range(4)
