"""What a server, Argo or Kubernetes would only refuse when a run is there already is told before, with the way out."""

from __future__ import annotations

import pytest

from flowbridge.backends.kubeflow.backend import KubeflowBackend
from flowbridge.backends.kubeflow.lower import retry_policy
from flowbridge.ir.flow import FlowGraph, StepNode
from flowbridge.ir.policies import Retry
from tests.unit.backends.kubeflow.flows import profile, step


def gaps(node: StepNode, **settings: object) -> list[str]:
    return KubeflowBackend().gaps(FlowGraph(name="one", steps=(node,)), profile(**settings))


# --- retries ---


def test_long_steps_are_tried_again_too() -> None:
    """Argo counts the longest duration from the start of the first attempt, so it has to be longer than any task."""
    policy = retry_policy(Retry(retries=2, delay=1.5, backoff=3))
    assert policy == {"maxRetryCount": 2, "backoffDuration": "2s", "backoffFactor": 3.0, "backoffMaxDuration": "315360000s"}


@pytest.mark.parametrize("backoff", [1.5, 2.25])
def test_backoff_that_is_no_whole_number_is_a_gap(backoff: float) -> None:
    (gap,) = gaps(step("train", retry=Retry(retries=2, delay=10, backoff=backoff)))
    assert gap.startswith(f"step train: backoff={backoff:g} ")
    assert gap.endswith(f"or backoff={int(backoff) + 1}.")
    assert gaps(step("train", retry=Retry(retries=2, delay=10, backoff=2))) == []
    assert gaps(step("train", retry=Retry(backoff=backoff))) == [], "it is never tried again"
