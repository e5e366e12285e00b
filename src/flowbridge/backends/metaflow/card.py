"""A card per task: what went in, what came out, metrics, and where the log is. One small page, written without starting a process.

Metaflow's own ``@card`` starts another Python for every task (about a second); its client finds this card in the same place.
"""

# ruff: noqa: SLF001  (Metaflow's decorator for cards does the same)
from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from flowbridge.backends.metaflow.own import current, metaflow_module

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowbridge.backends.metaflow.outputs import Output

_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:2rem;color:#1d2733}h1{font-size:1.3rem}h2{font-size:1rem;margin-top:1.6rem}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.2rem 1rem .2rem 0;border-bottom:1px solid #dde3ea}"
    "code,pre{font-family:ui-monospace,monospace;background:#f3f5f8;padding:.1rem .3rem}pre{padding:.8rem;overflow:auto}"
    ".done,.cached{color:#17703f}.failed{color:#b3261e}.skipped,.cancelled{color:#6b7683}"
)
CARD_TYPE = "blank"


def save_card(flow: str, run: str, node: str, answer: Any, outputs: Mapping[str, Output]) -> None:
    """Write the card of the running task into Metaflow's place for cards."""
    try:
        datastore = metaflow_module("system_context").system_context.flow_datastore
    except ImportError:  # before Metaflow 2.19.30: there is no way to its datastore from inside a step
        return
    card = metaflow_module("plugins.cards.card_datastore").CardDatastore(datastore, pathspec=current().pathspec)
    root = (
        f"{datastore.datastore_root}/{metaflow_module('metaflow_config').CARD_SUFFIX}"  # where Metaflow's client looks (``card_client.py``)
    )
    card._backend = type(datastore._storage_impl)(root)
    card.save_card(f"{current().task_id:0>20}"[-20:], CARD_TYPE, page(flow, run, node, answer, outputs))


def page(flow: str, run: str, node: str, answer: Any, outputs: Mapping[str, Output]) -> str:
    """Return the page of one task."""
    about = answer.about
    index = ".".join(str(i) for i in about.get("index", []))
    name = f"{node}/{index}" if index else node
    usage = about.get("usage", {})
    facts = [
        ("state", f'<span class="{_e(answer.state)}">{_e(answer.state)}</span>'),
        ("flow", _e(flow)),
        ("run", f"<code>{_e(run)}</code>"),
        ("attempt", str(about.get("attempt", 0))),
        ("wall time", _seconds(usage.get("wall_time"))),
        ("peak memory", _bytes(usage.get("peak_memory"))),
        ("log", f"<code>flowbridge logs {_e(run)} {_e(name)}</code>"),
    ]
    parts = [f"<h1>{_e(name)}</h1>", _table((k, v) for k, v in facts if v)]
    if answer.reason:
        parts.append(f"<h2>Reason</h2><pre>{_e(answer.reason)}</pre>")
        trace = (about.get("reason") or {}).get("traceback")
        parts.append(f"<pre>{_e(trace)}</pre>" if trace else "")
    for title, rows in (
        ("Inputs", ((k, _e(v)) for k, v in about.get("inputs", {}).items())),
        ("Parameters", ((k, f"<code>{_e(v)}</code>") for k, v in about.get("params", {}).items())),
        ("Metrics", ((k, f"{v:.6g}") for k, v in answer.metrics.items())),
        ("Outputs", ((k, f"{_e(o.type)}, {_bytes(o.size)}, <code>{_e(o.digest)}</code>") for k, o in outputs.items())),
    ):
        table = _table(rows)
        parts.append(f"<h2>{title}</h2>{table}" if table else "")
    head = f'<meta charset="utf-8"><title>{_e(name)}</title><style>{_STYLE}</style>'
    return f"<!doctype html><html><head>{head}</head><body>{''.join(parts)}</body></html>"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    inside = "".join(f"<tr><th>{_e(name)}</th><td>{value}</td></tr>" for name, value in rows)
    return f"<table>{inside}</table>" if inside else ""


def _e(value: object) -> str:
    return html.escape(str(value))


def _seconds(value: float | None) -> str:
    return f"{value:.2f} s" if value is not None else ""


def _bytes(size: int | None) -> str:
    if size is None:
        return ""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":  # noqa: PLR2004
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return ""
