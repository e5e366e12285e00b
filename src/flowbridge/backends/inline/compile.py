"""The form in which a flow is run in this process is the flow itself, as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flowbridge.backends.base import Compiled

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph


def compile_flow(graph: FlowGraph) -> Compiled:
    """Return the flow as a readable JSON file; fields at their defaults are left out."""
    text = json.dumps(graph.model_dump(mode="json", exclude_defaults=True), indent=2, ensure_ascii=False)
    return Compiled(files={f"{graph.name}.json": text.encode() + b"\n"})
