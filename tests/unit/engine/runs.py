"""Small flows by hand, prepared as the client would, and run by the engine."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowbridge.artifacts.store import Store
from flowbridge.backends.base import PreparedRun
from flowbridge.ir import bindings as b
from flowbridge.ir.control import MapNode
from flowbridge.ir.fingerprint import digest_of, dump
from flowbridge.ir.flow import CodeRef, FlowGraph, StepNode
from flowbridge.ir.ports import Port
from flowbridge.packaging.bundle import build
from flowbridge.records.files import RunFiles
from flowbridge.records.models import RunRecord, RunState, TaskRecord, TaskStarted
from flowbridge.settings import load_profile

from . import work

_numbers = itertools.count()


def step(name: str, *, scope: tuple[str, ...] = (), **about: Any) -> StepNode:
    """Return a step whose function is found by its name in `work`; `inputs` are bindings or plain values, by name."""
    inputs = tuple((n, _binding(v)) for n, v in about.pop("inputs", {}).items())
    function = about.pop("function", name)
    return StepNode(
        id=name,
        name=name,
        code=CodeRef(module=work.__name__, qualname=function),
        inputs=inputs,
        outputs=(Port(name="result"),),
        scope=scope,
        **about,
    )


def over(name: str, items: Any, **about: Any) -> MapNode:
    return MapNode(id=name, sources=(("item", _binding(items)),), **about)


def out(name: str) -> b.FromStep:
    return b.FromStep(step=name, output="result")


def item(map_id: str) -> b.FromItem:
    return b.FromItem(map=map_id, field="item")


def flow(*nodes: StepNode | MapNode) -> FlowGraph:
    return FlowGraph(
        name="f", steps=tuple(n for n in nodes if isinstance(n, StepNode)), maps=tuple(n for n in nodes if isinstance(n, MapNode))
    )


def chain(length: int, function: str = "count_on") -> FlowGraph:
    return flow(*(step(f"s{i}", function=function, inputs={"x": out(f"s{i - 1}") if i else 0}) for i in range(length)))


def _binding(value: Any) -> b.Binding:
    return value if isinstance(value, b.FromStep | b.FromItem | b.FirstOf | b.ListOf) else b.Constant(value=value)


@dataclass
class Seen:
    """What the listener was told."""

    events: list[TaskStarted | TaskRecord] = field(default_factory=list)

    def states(self) -> dict[tuple[str, tuple[int, ...]], str]:
        return {(e.step, e.index): e.state for e in self.events if isinstance(e, TaskRecord) and e.final}


def prepare(graph: FlowGraph, folder: Path, seen: Seen | None = None, *, on_failure: Any = "finish", **about: Any) -> PreparedRun:
    """Write `run.json` and return the run."""
    functions: Mapping[str, Callable[..., Any]] = {s.id: getattr(work, s.code.qualname) for s in graph.steps if s.code is not None}
    store = Store.open(str(folder / "store"))
    bundle = store.put_bundle(build(functions).data)
    record = RunRecord(
        id=f"r{next(_numbers)}", flow=graph.name, graph=store.save(dump(graph).decode()), graph_digest=digest_of(graph), backend="local",
        created=time.time(), on_failure=on_failure, bundle=bundle,
    )  # fmt: skip
    listener = seen.events.append if seen is not None else (lambda event: None)
    profile = load_profile(overrides={"store": str(folder / "store")})
    files = RunFiles.create(store.content, record)
    return PreparedRun(graph, record, store, files, profile, functions, listener, **about)


def value(run: PreparedRun, name: str, *index: int) -> Any:
    record = run.files.result(name, index, retries=9)
    assert record is not None
    return run.store.load(record.output("result"))


def ended(run: PreparedRun, name: str, *index: int) -> TaskRecord:
    record = run.files.result(name, index, retries=9)
    assert record is not None, f"{name}{index} has no final record"
    return record


__all__ = ["RunState", "Seen", "chain", "ended", "flow", "item", "out", "over", "prepare", "step", "value"]
