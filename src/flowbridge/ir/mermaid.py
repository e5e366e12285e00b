"""A flow as Mermaid text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph


def mermaid(flow: FlowGraph) -> str:
    """Return a flow as Mermaid text."""
    return f"flowchart TD\n%% {flow.name}"
