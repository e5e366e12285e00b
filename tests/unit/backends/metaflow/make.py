"""Flows made by hand, and FlowSpecs made of them, without a run."""

from __future__ import annotations

import itertools
import linecache
import sys
import types
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from flowbridge.backends.metaflow.compile import compile_flow
from flowbridge.ir.bindings import FromItem, FromStep
from flowbridge.ir.control import MapNode
from flowbridge.ir.flow import CodeRef, FlowGraph, StepNode
from flowbridge.ir.ports import Port

_numbers = itertools.count()


def profile(**settings: Any) -> Any:
    """A profile with some Metaflow settings."""
    return SimpleNamespace(name=None, backend="metaflow", store=".flowbridge", metaflow=settings, placement={}, machine=None)


def step(name: str, *needs: str, **about: Any) -> StepNode:
    """A step that needs others."""
    scope = about.get("scope", ())
    inputs = [(f"a{i}", FromStep(step=n, output="result")) for i, n in enumerate(needs)]
    if scope:
        inputs.append(("x", FromItem(map=scope[-1], field="x")))
    return StepNode(
        id=name, name=name, code=CodeRef(module="m", qualname=name), inputs=tuple(inputs), outputs=(Port(name="result"),), **about
    )


def over(name: str, *needs: str, **about: Any) -> MapNode:
    """A map over the outputs of steps."""
    sources = tuple((f"x{i}" if i else "x", FromStep(step=n, output="result")) for i, n in enumerate(needs))
    return MapNode(id=name, sources=sources, **about)


def graph(*nodes: StepNode | MapNode, **about: Any) -> FlowGraph:
    """A flow of steps and maps."""
    steps = tuple(n for n in nodes if isinstance(n, StepNode))
    maps = tuple(n for n in nodes if isinstance(n, MapNode))
    return FlowGraph(name=about.pop("name", "training"), steps=steps, maps=maps, **about)


def load(text: str) -> Any:
    """The FlowSpec in a text, without a file."""
    filename = f"<flow {next(_numbers)}>"
    module = types.ModuleType(f"flow_{next(_numbers)}")
    module.__file__ = filename
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    sys.modules[module.__name__] = module
    try:
        exec(compile(text, filename, "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]
    from metaflow import FlowSpec

    return next(v for v in vars(module).values() if isinstance(v, type) and issubclass(v, FlowSpec) and v is not FlowSpec)


def spec_of(flow: FlowGraph, **settings: Any) -> Any:
    """The FlowSpec of a flow."""
    return load(compile_flow(flow, profile(**settings)).text)


@st.composite
def flows(draw: st.DrawFn, most: int = 12, depth: int = 2) -> FlowGraph:
    """Flows of any shape, maps in maps included; each node needs some of those before it."""
    nodes: list[StepNode | MapNode] = []

    def fill(scope: tuple[str, ...], least: int, size: int) -> None:
        for _ in range(draw(st.integers(least, size))):
            if len(nodes) >= most:
                return
            known = [n.id for n in nodes if isinstance(n, StepNode)]
            needs = draw(st.lists(st.sampled_from(known), unique=True, max_size=3)) if known else []
            number = len(nodes)
            if len(scope) < depth and draw(st.integers(0, 3)) == 0:
                nodes.append(over(f"m{number}", *needs, scope=scope, parallel=draw(st.sampled_from([None, None, 2]))))
                fill((*scope, f"m{number}"), 0, 4)
            else:
                nodes.append(step(f"s{number}", *needs, scope=scope))

    fill((), 1, most)
    return graph(*nodes)
