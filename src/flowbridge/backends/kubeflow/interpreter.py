"""Which interpreter a step runs with in a pod: this one, or that of its own locked environment."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowbridge.ir.flow import StepNode
    from flowbridge.worker.order import WorkOrder


def interpreter_of(order: WorkOrder, node: StepNode) -> str:
    """Return the path of the interpreter for a step."""
    del order, node
    return sys.executable
