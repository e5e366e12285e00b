"""What can be said of a run in Metaflow's own terms."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from flowbridge.records.models import RunNative

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_HEADLINES = re.compile(
    r"^(Metaflow [0-9.]+ executing|Validating your flow|The graph looks good|Running pylint|Pylint|\s*$"
    r"|[0-9-]{10} [0-9:.]{8,} (\[[^]]+\] (Task (is starting|finished)|Foreach yields|\[KILLED BY ORCHESTRATOR\])|Workflow (starting|failed)|Terminating|Flushing))"
)


def native_of(flow: str, run_id: str) -> RunNative:
    """Return where a run is found in Metaflow: its pathspec, and its page where Metaflow's UI is configured."""
    ui = os.environ.get("METAFLOW_UI_URL")
    return RunNative(backend="metaflow", id=f"{flow}/{run_id}", url=f"{ui.rstrip('/')}/{flow}/{run_id}" if ui else None)


def own_error(lines: Iterable[str]) -> str:
    """Return what Metaflow said, without its greetings."""
    clean = [_COLOURS.sub("", line) for line in lines]
    said = [line.strip() for line in clean if not _HEADLINES.match(line.strip())]
    return " ".join(said) or "it ended without a word"
