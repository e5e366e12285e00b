"""A flow as Mermaid text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flowbridge.ir.describe import describe
from flowbridge.ir.nesting import Box, edges, nest

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph

_ARROWS = {"data": "-->", "order": "-.->", "condition": "-. when .->"}


def mermaid(flow: FlowGraph) -> str:
    """Return a flow as Mermaid text: steps as nodes, maps and inlined flows as subgraphs, order and conditions as dotted arrows."""
    names = {node.id: f"n{i}" for i, node in enumerate(flow.nodes)}
    lines = ["---", f"title: {flow.name}", "---", "flowchart TD"]
    lines += _inside(flow, nest(flow), names, "    ")
    lines += [f"    {names[edge.source]} {_ARROWS[edge.kind]} {names[edge.target]}" for edge in edges(flow)]
    return "\n".join(lines) + "\n"


def _inside(flow: FlowGraph, box: Box, names: dict[str, str], indent: str) -> list[str]:
    lines = [f"{indent}{names[step_id]}[{_quoted(_label(flow, step_id))}]" for step_id in box.steps]
    for inner in box.boxes.values():
        name = names[inner.map] if inner.map else f"g_{re.sub(r'[^A-Za-z0-9_]', '__', inner.key)}"
        lines.append(f"{indent}subgraph {name}[{_quoted(_title(flow, inner))}]")
        lines += _inside(flow, inner, names, indent + "    ")
        lines.append(f"{indent}end")
    return lines


def _label(flow: FlowGraph, step_id: str) -> str:
    step = flow.steps_by_id[step_id]
    short = step_id.rpartition(".")[2]
    return short if not step.guards else f"{short}<br/>when {' and '.join(map(describe, step.guards))}"


def _title(flow: FlowGraph, box: Box) -> str:
    guards = flow.maps_by_id[box.map].guards if box.map else ()
    return box.title if not guards else f"{box.title}<br/>when {' and '.join(map(describe, guards))}"


def _quoted(text: str) -> str:
    """Return a text as a Mermaid label; its line breaks are ours, everything else is shown as it is."""
    parts = [part.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;") for part in text.split("<br/>")]
    return '"' + "<br/>".join(parts) + '"'
