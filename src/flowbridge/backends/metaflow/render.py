"""The text of the generated FlowSpec: ordered, named, commented; the same flow gives the same text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowbridge.backends.metaflow.resources import Decorator

WIDTH = 120
_INDENT = "    "


def literal(value: Any) -> str:
    """Return a value of JSON's kinds as Python source, strings in double quotes."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        inside = ", ".join(literal(v) for v in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"
    return repr(value)


def _text(value: str) -> str:
    """Return a string literal, in double quotes where it holds none; JSON's form is Python's too where all characters can be shown."""
    if '"' not in value and all(c.isprintable() or c in "\n\t" for c in value):
        quoted = json.dumps(value, ensure_ascii=False)
        if quoted.isprintable():
            return quoted
    return repr(value)


def call(name: str, positional: Sequence[str] = (), arguments: Iterable[tuple[str, Any]] = (), indent: int = 0) -> list[str]:
    """Return the lines of a call, on one line where it fits."""
    parts = [*positional, *(f"{k}={literal(v)}" for k, v in arguments)]
    line = f"{_INDENT * indent}{name}({', '.join(parts)})"
    if len(line) <= WIDTH:
        return [line]
    return [f"{_INDENT * indent}{name}(", *(f"{_INDENT * (indent + 1)}{p}," for p in parts), f"{_INDENT * indent})"]


def decorator(made: Decorator, indent: int = 1) -> list[str]:
    """Return the lines of a decorator."""
    if not made.arguments:
        return [f"{_INDENT * indent}@{made.name}"]
    return call(f"@{made.name}", arguments=made.arguments, indent=indent)


def docstring(text: str, indent: int) -> list[str]:
    """Return a docstring of one line, whatever the text holds; nothing for no text."""
    first = " ".join(text.strip().split("\n\n")[0].split())
    if not first:
        return []
    room = WIDTH - len(_INDENT * indent) - 6
    if len(first) > room:
        first = first[: room - 3].rstrip() + "..."
    clean = "".join(c if c.isprintable() else " " for c in first).replace("\\", "\\\\").replace('"""', "'''")
    if clean.endswith('"'):
        clean = f"{clean[:-1]}'"
    return [f'{_INDENT * indent}"""{clean}"""']


def comment(text: str, indent: int) -> list[str]:
    """Return a comment, wrapped."""
    import textwrap  # noqa: PLC0415  (only here)

    clean = "".join(c if c.isprintable() else " " for c in text)
    start = f"{_INDENT * indent}# "
    return textwrap.wrap(clean, WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False)
