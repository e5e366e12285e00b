"""A run that Metaflow started by itself (``python flow.py run``, or a deployment): flowbridge's record of it is made in `start`.

The flow and its code lie beside the FlowSpec, as `flowbridge compile` wrote them.
"""

from __future__ import annotations

import getpass
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.backends.metaflow.lower import lower
from flowbridge.engine.drivers import driver_of
from flowbridge.engine.process_tree import read_proc
from flowbridge.errors import FlowbridgeError, ParameterError
from flowbridge.ir.fingerprint import digest_of, dump
from flowbridge.ir.flow import FlowGraph
from flowbridge.records.files import RunFiles
from flowbridge.records.models import RunNative, RunRecord
from flowbridge.worker.session import open_store

if TYPE_CHECKING:
    from flowbridge.artifacts.reference import Reference
    from flowbridge.artifacts.store import Store
    from flowbridge.records.models import Driver

FLOW_SUFFIX = ".flow.json"
CODE_SUFFIX = ".code.zip"


def make_run(spec: Any, flow: str, store_url: str, folder: Path, *, native: str, here: bool) -> str:
    """Make the record of a run from Metaflow's parameters and the files beside the FlowSpec, and return the run's id.

    Args:
        spec: The FlowSpec.
        flow: Name of the flow.
        store_url: URL of the store.
        folder: Where the FlowSpec is.
        native: The run's pathspec in Metaflow.
        here: This task runs on the machine of whoever started it.

    Raises:
        FlowbridgeError: The files are not there.
        ParameterError: A parameter that must be given has no value.
    """
    graph = FlowGraph.model_validate_json(_read(folder / f"{flow}{FLOW_SUFFIX}"))
    store = open_store(store_url)
    run_id = f"metaflow-{native.rpartition('/')[2]}"
    values = {p.name: getattr(spec, attribute) for p, (_, attribute) in zip(graph.parameters, lower(graph).parameters, strict=True)}
    _check(graph, values)
    record = RunRecord(
        id=run_id,
        flow=graph.name,
        graph=store.save(dump(graph).decode(), name="the flow"),
        graph_digest=digest_of(graph),
        bundle=store.put_bundle(_read(folder / f"{flow}{CODE_SUFFIX}")),
        params=values,
        param_refs=_saved(store, values),
        backend="metaflow",
        created=time.time(),
        user=getpass.getuser(),
        host=platform.node(),
        python=platform.python_version(),
        tags=graph.tags,
        driver=_runtime() if here else None,
    )
    try:
        files = RunFiles.create(store.content, record)
    except FileExistsError:  # an attempt of `start` before this one made it
        files = RunFiles(store.content, graph.name, run_id)
    files.set_native(RunNative(backend="metaflow", id=native))
    return run_id


def _runtime() -> Driver | None:
    """Return the process of Metaflow's own runtime, which starts the tasks; None where something else started this one."""
    parent = os.getppid()
    words = (read_proc(parent, "cmdline") or b"").split(b"\0")
    return driver_of(parent) if {b"run", b"resume"} & set(words) else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FlowbridgeError(
            f"{path.name} is not beside the FlowSpec. It is written by `flowbridge compile --backend metaflow`: keep its files together, "
            f"and have Metaflow package them (--package-suffixes .py,.json,.zip)"
        ) from None


def _saved(store: Store, values: dict[str, Any]) -> tuple[tuple[str, Reference], ...]:
    return tuple((name, store.save(value, name=f"parameter {name!r}")) for name, value in values.items())


def _check(graph: FlowGraph, values: dict[str, Any]) -> None:
    missing = [
        p.name for p in graph.parameters if values[p.name] is None and p.default is None and (p.required or not _takes_none(p.json_schema))
    ]
    if missing:
        raise ParameterError(f"Flow {graph.name!r} needs a value for the parameter {' and '.join(missing)}: --{missing[0]} VALUE")


def _takes_none(schema: dict[str, Any] | None) -> bool:
    options = (schema or {}).get("anyOf", [schema or {}])
    return any(isinstance(o, dict) and o.get("type") == "null" for o in options)
