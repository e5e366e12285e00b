"""The end of a run, written by its last pod: what the records lack is asked of the server, where the pod can reach it."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from flowbridge.backends.kubeflow.compile import compile_flow
from flowbridge.backends.kubeflow.status import complete
from flowbridge.records.finish import finalise
from flowbridge.records.models import Reason
from flowbridge.settings import Profile

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.records.models import RunEnd
    from flowbridge.worker.session import RunSession

Json = dict[str, Any]
HOST, PORT = "ML_PIPELINE_SERVICE_HOST", "ML_PIPELINE_SERVICE_PORT"
"""Kubernetes sets these in every pod of the namespace that Kubeflow's API server is in."""
PATIENCE = 10.0
NEVER = (
    "its pod never got as far as the step: it could not be started (its image, its resources, a missing secret) or was evicted; "
    "the run's page in Kubeflow has its own words"
)


def close(run: RunSession, native: str) -> RunEnd:
    """Write the end of a run.

    Args:
        run: The run.
        native: Its id on the server.
    """
    told = ask(native)
    if told is not None:
        complete(run.graph, run.files, told, task_names(run.graph))
    return finalise(run.graph, run.files, left=Reason(kind="lost_worker", message=NEVER))


def ask(native: str) -> Json | None:
    """Return the run as the server tells it; None where this pod cannot reach it, or may not ask."""
    host = os.environ.get(HOST)
    if not host:
        return None
    address = f"http://{f'[{host}]' if ':' in host else host}:{os.environ.get(PORT) or '8888'}/apis/v2beta1/runs/{native}"
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
            found = json.loads(answer.read())
    except (OSError, ValueError):  # somewhere else, or it wants to know who is asking
        return None
    return found if isinstance(found, dict) else None


def task_names(graph: FlowGraph) -> dict[str, str]:
    """Return the name on the server of each step's task: they follow from the flow alone."""
    return compile_flow(graph, Profile(backend="kubeflow", store="s3://any/where")).tasks
