"""A run as a piece of HTML, for notebooks."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from html import escape
from typing import TYPE_CHECKING, Any

from flowbridge.ir.svg import svg

if TYPE_CHECKING:
    from flowbridge.client.run import Run

_COLOURS = {
    "done": "#1a7f37",
    "cached": "#1a7f37",
    "running": "#0969da",
    "pending": "#656d76",
    "skipped": "#656d76",
    "failed": "#cf222e",
    "cancelled": "#9a6700",
}


def page_of(run: Run[Any]) -> str:
    """Return what a notebook shows of a run: what it is, what became of its steps, its metrics, and the picture of the flow."""
    created = datetime.fromtimestamp(run.created, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    head = (
        f"<p><b>{escape(run.flow)}</b> <code>{escape(run.id)}</code> {_coloured(run.status)}<br>"
        f"{escape(run.backend)}, {created}, {run.duration:.1f} s{_link(run.url)}</p>"
    )
    message = f"<pre>{escape(run.message)}</pre>" if run.message else ""
    facts = _table("parameter", run.params) + _table("metric", run.metrics)
    return f"<div>{head}{message}{_steps(run)}{facts}<details><summary>flow</summary>{svg(run.graph)}</details></div>"


def _steps(run: Run[Any]) -> str:
    counts: dict[str, Counter[str]] = {}
    for task in run.tasks:
        counts.setdefault(task.step, Counter())[task.state] += 1
    rows = "".join(
        f"<tr><td>{escape(step)}</td><td>{', '.join(f'{_coloured(s)} {n}' if n > 1 else _coloured(s) for s, n in states.items())}</td></tr>"
        for step, states in counts.items()
    )
    return f"<table><tr><th>step</th><th>tasks</th></tr>{rows}</table>"


def _table(title: str, values: dict[str, Any]) -> str:
    if not values:
        return ""
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>" for name, value in values.items())
    return f"<table><tr><th>{title}</th><th>value</th></tr>{rows}</table>"


def _coloured(state: str) -> str:
    return f'<span style="color:{_COLOURS[state]}">{state}</span>'


def _link(url: str | None) -> str:
    return f', <a href="{escape(url, quote=True)}">{escape(url)}</a>' if url and url.startswith(("http://", "https://")) else ""


def table_of(rows: list[dict[str, Any]]) -> str:
    """Return a listing of runs as an HTML table."""
    names = ("id", "flow", "status", "backend", "created", "duration", "metrics")
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{_cell(name, row[name])}</td>" for name in names) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(name: str, value: Any) -> str:
    if name == "status":
        return _coloured(value)
    if isinstance(value, dict):
        return escape(", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in value.items()))
    return escape(str(value))
