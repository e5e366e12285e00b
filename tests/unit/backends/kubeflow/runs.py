"""Flows that really run: the functions behind the shapes of `kubeflow_flows`, and runs of them prepared as the client prepares them."""

from __future__ import annotations

import importlib
import json
import platform
import time
import uuid
from typing import TYPE_CHECKING, Any

from flowbridge.artifacts.store import Store
from flowbridge.backends.base import PreparedRun
from flowbridge.ir.fingerprint import digest_of, dump
from flowbridge.packaging.bundle import build
from flowbridge.records.files import RunFiles
from flowbridge.records.models import RunRecord, TaskRecord

if TYPE_CHECKING:
    from pathlib import Path

    from flowbridge.ir.flow import FlowGraph


def record_of(graph: FlowGraph, functions: dict[str, Any], store: Store, params: dict[str, Any], run_id: str) -> RunRecord:
    """Put a flow, its code and its parameters into the store, and return the record of a run of it."""
    bundle = build(functions)
    given = {p.name: params.get(p.name, p.default) for p in graph.parameters if p.name in params or not p.required}
    return RunRecord(
        id=run_id,
        flow=graph.name,
        graph=store.save(json.loads(dump(graph))),
        graph_digest=digest_of(graph),
        bundle=store.put_bundle(bundle.data),
        params=given,
        param_refs=tuple((name, store.save(value)) for name, value in given.items()),
        backend="kubeflow",
        created=time.time(),
        host=platform.node(),
    )


def prepare(graph: FlowGraph, functions: dict[str, Any], profile: Any, *, on_failure: str = "finish", **params: Any) -> PreparedRun:
    """Make a run that only has to be submitted."""
    store = Store.open(profile.store)
    record = record_of(graph, functions, store, params, f"run-{uuid.uuid4().hex[:8]}").model_copy(update={"on_failure": on_failure})
    files = RunFiles.create(store.content, record)
    events: list[Any] = []
    run = PreparedRun(graph=graph, record=record, store=store, files=files, profile=profile, listener=events.append)
    object.__setattr__(run, "events", events)
    return run


def states(files: RunFiles) -> dict[str, str]:
    """Return the final state of each task, by its name."""
    found = {}
    for record in files.tasks():
        if isinstance(record, TaskRecord) and record.final:
            index = ".".join(map(str, record.index))
            found[f"{record.step}/{index}" if index else record.step] = record.state
    return found


def value(run: PreparedRun, step: str, *index: int, output: str = "result") -> Any:
    """Return an output of a finished task."""
    record = run.files.result(step, index, retries=9)
    assert record is not None, f"{step}{index} has no record"
    assert record.state == "done", record.reason
    return run.store.load(record.output(output))


def module(folder: Path, source: str, monkeypatch: Any) -> Any:
    """Write a module of step functions and import it."""
    name = f"steps_{uuid.uuid4().hex[:8]}"
    (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module(name)
