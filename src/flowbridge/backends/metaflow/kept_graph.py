"""The graph that Metaflow's own process made of a FlowSpec, kept for the processes of its tasks.

Metaflow makes the graph of the whole flow in every task's process, twice; a task looks at its own step and its neighbours. So the process that
schedules the run writes the graph it made into the run's folder, and a task takes from there what it looks at. The file is used only by
processes that were told of it, and only for the very FlowSpec and the very version of Metaflow that it was made of.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.backends.metaflow.own import metaflow_module
from flowbridge.backends.metaflow.variables import GRAPH

if TYPE_CHECKING:
    from collections.abc import Callable

_LIVE = frozenset({"decorators", "wrappers", "config_decorators", "parallel_step", "node_info"})
"""What a node has from the functions of the process it is in."""
_contents: dict[str, dict[str, Any]] = {}


def kept(make: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Return what stands in for ``FlowGraph.__init__``: it takes the graph that is kept where there is one, else makes and keeps it."""

    def init(graph: Any, flow: Any) -> None:
        path = os.environ.get(GRAPH)
        origin = _origin_of(flow) if path else None
        if path is None or origin is None:
            make(graph, flow)
            return
        found = _content(path)
        if found is not None and found["origin"] == origin:
            _restore(graph, flow, found)
            return
        make(graph, flow)
        _write(Path(path), graph, origin)

    return init


@cache
def _origin_of(flow: Any) -> str | None:
    """Return what tells a FlowSpec and the Metaflow that reads it from any other; None where it is in no file."""
    file = getattr(sys.modules.get(flow.__module__), "__file__", None)
    if file is None or not Path(file).is_file():
        return None
    return f"{metaflow_module().__version__} {flow.__name__} {hashlib.sha256(Path(file).read_bytes()).hexdigest()}"


def _write(path: Path, graph: Any, origin: str) -> None:
    """Keep a graph; one that says more than JSON can is not kept (no FlowSpec of flowbridge's has such a one)."""
    nodes = {name: {k: v for k, v in vars(node).items() if k not in _LIVE} for name, node in graph.nodes.items()}
    own = {k: v for k, v in vars(graph).items() if k != "nodes"}
    try:
        texts = {name: json.dumps(state) for name, state in nodes.items()}
        text = json.dumps({"origin": origin, "graph": own, "nodes": texts})
    except TypeError:
        return
    if json.loads(text)["graph"] != own or any(json.loads(texts[name]) != state for name, state in nodes.items()):
        return
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
    _contents.pop(str(path), None)


def _content(path: str) -> dict[str, Any] | None:
    if path not in _contents:
        try:
            _contents[path] = json.loads(Path(path).read_bytes())
        except (OSError, ValueError):
            return None
    return _contents[path]


def _restore(graph: Any, flow: Any, found: dict[str, Any]) -> None:
    vars(graph).update(found["graph"])
    graph.sorted_nodes = list(graph.sorted_nodes)
    node_class = _kept_node_class()
    graph.nodes = {name: node_class(flow, name, text) for name, text in found["nodes"].items()}


@cache
def _kept_node_class() -> Any:
    class KeptNode(metaflow_module("graph").DAGNode):  # type: ignore[misc]
        """A step of a graph that was kept: read when something of it but its name is asked for."""

        def __init__(self, flow: Any, name: str, text: str) -> None:
            self.name = name
            self._kept: tuple[Any, str] | None = (flow, text)

        def __getattr__(self, wanted: str) -> Any:
            """Read the step; called only for what is not there yet."""
            left = self.__dict__.get("_kept")
            if left is None:
                raise AttributeError(f"a step of Metaflow's graph has no {wanted}")
            flow, text = left
            function = getattr(flow, self.name)
            self._kept = None
            self.__dict__.update(json.loads(text))
            self.decorators = function.decorators
            self.wrappers = function.wrappers
            self.config_decorators = function.config_decorators
            self.parallel_step = any(getattr(made, "IS_PARALLEL", False) for made in function.decorators)
            self.node_info = getattr(function, "node_info", None) or {}
            return getattr(self, wanted)

    return KeptNode
