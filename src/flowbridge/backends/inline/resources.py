"""What a flow asks of this process: its secrets. Declared resources are known to steps and not held."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowbridge.ir.flow import FlowGraph


def secret_gaps(graph: FlowGraph) -> Iterator[str]:
    """Yield a sentence for each secret that is not there. Only names are ever looked at or shown."""
    for node in graph.steps:
        for secret in node.environment.secrets:
            if secret.name not in os.environ and secret.env not in os.environ:
                where = f"set the environment variable {secret.name} where the flow is started"
                yield f"step {node.id}: the secret {secret.name!r} is not there: {where}."
