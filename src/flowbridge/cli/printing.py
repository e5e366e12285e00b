"""How commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flowbridge.ir.resources import format_bytes

COLOURS = {
    "done": "green",
    "cached": "green",
    "running": "blue",
    "pending": "bright_black",
    "skipped": "bright_black",
    "failed": "red",
    "cancelled": "yellow",
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_BYTE = 0x100
_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_UNSEEN = re.compile(f"[{_CONTROLS}]")
"""Controls but for tab and new line; what turns the direction of text around; halves of characters, which cannot be printed."""
_UNPRINTED = re.compile(rf"(?!\r|\x1b\[[0-9;]*[mK])[{_CONTROLS}]")
"""The same, but for what programs print to a terminal in good faith: colours, and a line that is written again."""


def visible(text: str) -> str:
    """Return a text with whatever would not be seen made visible: stores, and what steps raise, may try to steer the terminal."""
    return _UNSEEN.sub(_escaped, text)


def say(*words: str, error: bool = False) -> None:
    """Print a line of words that may come from a store."""
    print(*map(visible, words), file=sys.stderr if error else sys.stdout, flush=error)


def print_output(text: str) -> None:
    """Print what steps printed: on a terminal, colours are all that it may change there."""
    sys.stdout.write(_UNPRINTED.sub(_escaped, text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"\\x{ord(c):02x}" if ord(c) < _BYTE else f"\\u{ord(c):04x}" for c in found[0])


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    print(_UNSEEN.sub(lambda found: "".join(f"\\u{ord(c):04x}" for c in found[0]), text))


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table: with colours on a terminal, else as lines of columns that are never cut."""
    shown = [[visible(_text(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _rich_table(head, shown)
        return
    widths = [max(len(row[i]) for row in [list(head), *shown]) for i in range(len(head))]
    for row in [[h.upper() for h in head], *shown]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _rich_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in head:
        table.add_column(name.upper(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    Console().print(table)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{k}={_text(v)}" for k, v in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(v) for v in value) or "-"
    return str(value)


def length(seconds: float | None) -> str:
    """Return a length of time for people: ``0.3s``, ``12s``, ``3m 05s``, ``2h 10m``, ``3d 4h``."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 10:  # noqa: PLR2004  (below, tenths are worth showing)
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02d}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02d}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"


def count(number: int, what: str) -> str:
    """Return a number of things: ``1 task``, ``2 tasks``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def moment(iso: str | None) -> str:
    """Return a time in the zone of this machine."""
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M:%S") if iso is not None else "-"


def size(count: int | None) -> str:
    """Return an amount of bytes for people."""
    return format_bytes(count) if count is not None else "-"
