"""All checks over a flow as data. They collect every problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph


def problems(flow: FlowGraph) -> list[str]:
    """Return what is wrong with a flow."""
    return []
