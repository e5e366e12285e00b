"""What a user of Kubeflow's own pages sees of a task: its outputs as artifacts, its metrics, and a report with figures and tables."""

from __future__ import annotations

import base64
import html
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.backends.kubeflow.pod import write_executor_output
from flowbridge.records.reasons import task_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowbridge.artifacts.reference import Reference
    from flowbridge.records.models import TaskRecord
    from flowbridge.worker.session import RunSession

Json = dict[str, Any]
SCHEME = "flowbridge"
"""Unknown to the server on purpose: it records such a URI as it is, and refuses those of any bucket but its own."""
METRICS, REPORT = "metrics", "report"
LONGEST_TEXT = 200
LARGEST_PICTURE = 2_000_000
LONGEST_TABLE = 50
_MOUNTS = (("minio://", "/minio/"), ("s3://", "/s3/"), ("gs://", "/gcs/"))
"""Where the server's launcher uploads from (`backend/src/v2/component/launcher_v2.go`, LocalPathForURI)."""


def write_outputs(executor_input: Mapping[str, Any], record: TaskRecord, run: RunSession) -> None:
    """Tell Kubeflow of a task's outputs and metrics, and write its report where Kubeflow takes it from."""
    declared: Json = executor_input.get("outputs", {}).get("artifacts", {})
    artifacts = {name: _artifact(name, record, run) for name in declared if name not in {METRICS, REPORT}}
    if METRICS in declared:
        artifacts[METRICS] = {"uri": uri(record, run, METRICS), "metadata": _plain_numbers(record.metrics)}
    if REPORT in declared:
        target = declared[REPORT]["artifacts"][0].get("uri", "")
        path = local_path(target)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(report(record, run), encoding="utf-8")
        artifacts[REPORT] = {"uri": target, "metadata": {"state": record.state}}
    write_executor_output(executor_input, {"artifacts": {name: {"artifacts": [_named(name, a)]} for name, a in artifacts.items()}})


def _plain_numbers(metrics: Mapping[str, float]) -> Json:
    """Return metrics as JSON has them: it has no word for NaN and infinity, which the launcher would fail the task for, so they are texts."""
    return {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}


def _named(name: str, artifact: Json) -> Json:
    return {"name": name, **artifact}


def uri(record: TaskRecord, run: RunSession, name: str) -> str:
    """Return the URI by which an output is known: the task it comes from."""
    return f"{SCHEME}://{run.files.flow}/{run.files.run_id}/{task_name(record.step, record.index)}/{name}"


def local_path(target: str) -> Path | None:
    """Return where a file must be written to be found under a URI of the server's own store; None for anything else."""
    for scheme, mount in _MOUNTS:
        if target.startswith(scheme):
            return Path(mount + target.removeprefix(scheme))
    return Path(target) if target.startswith("/") else None


def _artifact(name: str, record: TaskRecord, run: RunSession) -> Json:
    outputs = dict(record.outputs)
    reference = outputs.get(name) or outputs.get(name.rstrip("_"))
    about: Json = {"state": record.state, "run": run.files.run_id}
    if reference is not None:
        about |= _about(reference, run)
    return {"uri": uri(record, run, name), "metadata": about}


def _about(reference: Reference, run: RunSession) -> Json:
    about: Json = {"type": reference.type, "size": reference.size, "format": reference.serializer, "digest": reference.digest}
    if reference.has_blob:
        about["store"] = f"{run.store.url.rstrip('/')}/{blob_path(reference)}"
    elif reference.inline is not None:
        about["value"] = reference.inline[:LONGEST_TEXT]
    if reference.length is not None:
        about["length"] = reference.length
    return about


def blob_path(reference: Reference) -> str:
    """Return the path of a value's bytes in the store."""
    from flowbridge.artifacts import layout  # noqa: PLC0415  (with fsspec, in a pod only)

    return layout.blob(reference.digest)


def report(record: TaskRecord, run: RunSession) -> str:
    """Return a page about a task: how it went, its outputs and metrics, its figures and tables."""
    parts = [f"<h2>{_text(task_name(record.step, record.index))} <small>{_text(record.state)}</small></h2>"]
    if record.reason is not None:
        parts.append(f"<p><b>{_text(record.reason.kind)}</b>: {_text(record.reason.message)}</p>")
        if record.reason.traceback:
            parts.append(f"<pre>{_text(record.reason.traceback)}</pre>")
    if record.metrics:
        parts.append(table(("metric", "value"), ((name, f"{value:g}") for name, value in record.metrics.items())))
    if record.params:
        parts.append(table(("parameter", "value"), ((name, json.dumps(value)) for name, value in record.params.items())))
    if record.outputs:
        parts.append(table(("output", "type", "bytes", "value"), (_row(name, reference) for name, reference in record.outputs)))
    parts += [_extra(name, reference, run) for name, reference in record.extras]
    parts.append(f"<p><code>flowbridge show {_text(run.files.run_id)}</code></p>")
    return f"<html><head><meta charset='utf-8'><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>"


_STYLE = (
    "body{font:14px sans-serif}table{border-collapse:collapse}"
    "td,th{border:1px solid #ccc;padding:2px 8px;text-align:left}img{max-width:100%}"
)


def table(head: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> str:
    """Return a table as HTML."""
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return "<table><tr>" + "".join(f"<th>{_text(name)}</th>" for name in head) + f"</tr>{body}</table>"


def _row(name: str, reference: Reference) -> tuple[object, ...]:
    return name, reference.type, reference.size, (reference.inline or "")[:LONGEST_TEXT]


def _extra(name: str, reference: Reference, run: RunSession) -> str:
    """Return a figure as a picture, a table as a table, anything else by its name."""
    head = f"<h3>{_text(name)}</h3>"
    if reference.size > LARGEST_PICTURE:
        return f"{head}<p>{reference.size} bytes; <code>flowbridge show {_text(run.files.run_id)}</code> has it</p>"
    return head + _value(run.store.load(reference))


def _value(value: Any) -> str:
    if isinstance(value, Path) and value.is_file():
        value = value.read_bytes()
    if isinstance(value, bytes):
        kind = picture_kind(value)
        if kind == "svg+xml":
            return value.decode("utf-8", "replace")
        return f"<img src='data:image/{kind};base64,{base64.b64encode(value).decode()}'>" if kind else f"<p>{len(value)} bytes</p>"
    if hasattr(value, "to_html"):
        return str(value.head(LONGEST_TABLE).to_html(border=0))
    rows = value if isinstance(value, list) else [value]
    if rows and all(isinstance(row, dict) for row in rows):
        columns = list(dict.fromkeys(key for row in rows for key in row))
        return table(tuple(map(str, columns)), (tuple(row.get(c, "") for c in columns) for row in rows[:LONGEST_TABLE]))
    return f"<pre>{_text(repr(value)[:LARGEST_PICTURE])}</pre>"


def picture_kind(data: bytes) -> str | None:
    """Return the kind of a picture by its first bytes; None for anything else."""
    heads = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"))
    if data.lstrip().startswith((b"<svg", b"<?xml")) and b"<svg" in data:
        return "svg+xml"
    return next((kind for head, kind in heads if data.startswith(head)), None)


def _text(value: object) -> str:
    return html.escape(str(value))
