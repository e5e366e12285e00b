"""Short ways to write graphs by hand."""

from __future__ import annotations

from flowbridge.ir.bindings import Constant, FromItem, FromStep
from flowbridge.ir.control import MapNode
from flowbridge.ir.flow import CodeRef, FlowGraph, StepNode
from flowbridge.ir.ports import Port

CODE = CodeRef(module="m", qualname="f")
RESULT = (Port(name="result"),)


def step(node_id, *needs, scope=(), **fields):
    """Return a step that needs the results of some others."""
    inputs = tuple((f"x{i}", out(n) if isinstance(n, str) else n) for i, n in enumerate(needs))
    made = {"code": CODE, "outputs": RESULT, "inputs": inputs, **fields}
    return StepNode(id=node_id, name=node_id.rpartition(".")[2], scope=scope, **made)


def out(step_id, output="result", **fields):
    return FromStep(step=step_id, output=output, **fields)


def item(map_id, field="x"):
    return FromItem(map=map_id, field=field)


def over(map_id, source=None, scope=(), **fields):
    """Return a map over one list."""
    return MapNode(id=map_id, scope=scope, sources=(("x", Constant(value=[1, 2]) if source is None else source),), **fields)


def graph(*nodes, **fields):
    steps = tuple(n for n in nodes if isinstance(n, StepNode))
    return FlowGraph(name="f", steps=steps, maps=tuple(n for n in nodes if isinstance(n, MapNode)), **fields)
