"""Writes pipeline IR as JSON, one task, component or executor a line: it is YAML too, small, fast and easy to compare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Layout = Mapping[str, Any]
_DAG: Layout = {"dag": {"tasks": {}}}
_SPEC: Layout = {"components": {"*": _DAG}, "deploymentSpec": {"executors": {}}, "root": _DAG}
_PLATFORM: Layout = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}}}}
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def emit(spec: Mapping[str, Any], platform: Mapping[str, Any]) -> bytes:
    """Return the pipeline as a file for `kfp` and for the server: a second document where there are platform settings."""
    text = _object(spec, _SPEC, "") + "\n"
    if platform:
        text += "---\n" + _object(platform, _PLATFORM, "") + "\n"
    return text.encode()


def compact(value: object) -> str:
    """Return a value as one line of JSON."""
    return _encode(value)


def _object(value: Mapping[str, Any], layout: Layout, indent: str) -> str:
    """Write a mapping over several lines; members that the layout names are spread too."""
    if not value:
        return "{}"
    inner = indent + " "
    lines = []
    for key, member in value.items():
        spread = layout.get(key, layout.get("*"))
        nested = isinstance(member, Mapping) and spread is not None and any(k in spread or "*" in spread or not spread for k in member)
        text = _object(member, spread, inner) if nested and spread is not None else _encode(member)
        lines.append(f"{inner}{_encode(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n" + indent + "}"
