"""What `flow.graph()` returns: the graph as data, as Mermaid text and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowbridge.ir.mermaid import mermaid
from flowbridge.ir.svg import svg

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph


@dataclass(frozen=True)
class Picture:
    """A flow to look at. Notebooks show it as a picture.

    Attributes:
        graph: The flow as data.
    """

    graph: FlowGraph

    def mermaid(self) -> str:
        """Return the flow as Mermaid text, as many a wiki and README shows it."""
        return mermaid(self.graph)

    def svg(self) -> str:
        """Return the flow as an SVG picture."""
        return svg(self.graph)

    def _repr_html_(self) -> str:
        return self.svg()

    def __str__(self) -> str:
        return self.mermaid()
