"""The smallest scheduler there can be: tasks one after the other, in the order of the flow. What a backend would do with more care."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowbridge.artifacts.store import Store
from flowbridge.ir.bindings import Binding, Constant, FromItem, FromParameter, FromStep, PathItem
from flowbridge.ir.bindings import Path as Access
from flowbridge.ir.control import Condition, MapNode
from flowbridge.ir.fingerprint import digest_of, dump
from flowbridge.ir.flow import CodeRef, FlowGraph, StepNode
from flowbridge.ir.policies import Retry
from flowbridge.ir.ports import Parameter, Port
from flowbridge.records.expected import tasks_of
from flowbridge.records.files import RunFiles
from flowbridge.records.finish import finalise
from flowbridge.records.models import RunEnd, RunRecord, TaskRecord
from flowbridge.worker.expand import expand_cheaply
from flowbridge.worker.order import WorkOrder
from flowbridge.worker.result import resolve_result
from flowbridge.worker.run import run_task
from flowbridge.worker.session import Session


@dataclass
class Driven:
    """A run that has ended."""

    graph: FlowGraph
    files: RunFiles
    store: Store
    end: RunEnd
    records: dict[tuple[str, tuple[int, ...]], TaskRecord] = field(default_factory=dict)

    def result(self) -> Any:
        return resolve_result(self.graph, self.files, self.store)

    def state(self, step: str, *index: int) -> str:
        return self.records[step, index].state

    def value(self, step: str, *index: int, output: str = "result") -> Any:
        return self.store.load(self.records[step, index].output(output))


def open_store(folder: Path) -> Store:
    return Store.open(str(folder))


def create(
    graph: FlowGraph, store: Store, params: Mapping[str, Any] | None = None, *, bundle: str | None = None, run: str = "r1"
) -> RunFiles:
    record = RunRecord(
        id=run,
        flow=graph.name,
        graph=store.save(dump(graph).decode()),
        graph_digest=digest_of(graph),
        bundle=bundle,
        param_refs=tuple((name, store.save(value)) for name, value in (params or {}).items()),
        backend="test",
        created=time.time(),
    )
    return RunFiles.create(store.content, record)


def drive(
    graph: FlowGraph,
    functions: Mapping[str, Callable[..., Any]],
    store: Store,
    params: Mapping[str, Any] | None = None,
    *,
    cheap: bool = True,
    capture: Any = "none",
    run: str = "r1",
) -> Driven:
    """Run every task of a flow in this process."""
    files = create(graph, store, params, run=run)
    session = Session(store, functions=functions, capture=capture)
    final: dict[tuple[str, tuple[int, ...]], TaskRecord] = {}

    def lookup(node_id: str, index: tuple[int, ...]) -> TaskRecord | None:
        return final.get((node_id, index))

    for node, index in tasks_of(graph, lookup):
        record = expand_cheaply(graph, node, index, files, store) if cheap and isinstance(node, MapNode) else None
        attempt = 0
        while record is None or not record.final:
            order = WorkOrder(store=store.url, flow=graph.name, run=run, step=node.id, index=index, attempt=attempt)
            record = run_task(order, session=session)
            attempt += 1
        final[node.id, index] = record
    return Driven(graph, files, store, finalise(graph, files), final)


def step(name: str, *, outputs: str = "result", kind: str = "single", retries: int = 0, **about: Any) -> StepNode:
    """Return a step; further arguments are fields of it, and `inputs` may be a dict."""
    inputs = tuple((n, binding(v)) for n, v in about.pop("inputs", {}).items())
    ports = tuple(Port(name=n) for n in outputs.split())
    code = None if "container" in about else CodeRef(module="m", qualname=name)
    return StepNode(id=name, name=name, code=code, inputs=inputs, outputs=ports, output_kind=kind, retry=Retry(retries=retries), **about)  # type: ignore[arg-type]


def over(
    name: str,
    *,
    scope: tuple[str, ...] = (),
    guards: tuple[Condition, ...] = (),
    batch: int | None = None,
    after: tuple[str, ...] = (),
    **sources: Any,
) -> MapNode:
    return MapNode(
        id=name, scope=scope, guards=guards, batch=batch, after=after, sources=tuple((n, binding(v)) for n, v in sources.items())
    )


def flow(*nodes: StepNode | MapNode, result: Any = None, kind: str = "single", params: str = "") -> FlowGraph:
    if result is None:
        ends: tuple[tuple[str, Binding], ...] = ()
        kind = "none"
    elif isinstance(result, dict):
        ends = tuple((n, binding(v)) for n, v in result.items())
    else:
        ends = (("result", binding(result)),)
    return FlowGraph(
        name="f",
        steps=tuple(n for n in nodes if isinstance(n, StepNode)),
        maps=tuple(n for n in nodes if isinstance(n, MapNode)),
        result=ends,
        result_kind=kind,  # type: ignore[arg-type]
        parameters=tuple(Parameter(name=n) for n in params.split()),
    )


def binding(value: Any) -> Binding:
    return value if hasattr(value, "kind") else Constant(value=value)


def path(*parts: str | int) -> Access:
    """`.name` for a text that starts with a dot, else `[key]`."""
    return tuple(
        PathItem(kind="attr", key=p[1:]) if isinstance(p, str) and p.startswith(".") else PathItem(kind="item", key=p) for p in parts
    )


def out(step_id: str, *parts: str | int, output: str = "result", then: tuple[str | int, ...] = ()) -> FromStep:
    return FromStep(step=step_id, output=output, path=path(*parts), then=path(*then))


def item(map_id: str, field_: str, *parts: str | int) -> FromItem:
    return FromItem(map=map_id, field=field_, path=path(*parts))


def param(name: str, *parts: str | int) -> FromParameter:
    return FromParameter(name=name, path=path(*parts))
