"""Flow parameters as Metaflow's parameters: a plain type where Metaflow has one, else JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowbridge.backends.metaflow.names import parameter_name

if TYPE_CHECKING:
    from flowbridge.ir.ports import Parameter

_PLAIN = {"integer": "int", "number": "float", "string": "str", "boolean": "bool"}
LONGEST = 32_768
"""Bytes of a value on the command line; Linux takes at most 128 KiB for one argument (``MAX_ARG_STRLEN``)."""


@dataclass(frozen=True)
class FlowParameter:
    """A parameter of the FlowSpec.

    Attributes:
        attribute: Name in the class, and of the artifact.
        name: Name on Metaflow's command line.
        kind: ``int``, ``float``, ``str``, ``bool`` or ``JSONType``.
        arguments: Of ``Parameter``, but for the name and the type.
    """

    attribute: str
    name: str
    kind: str
    arguments: tuple[tuple[str, Any], ...]


def flow_parameter(parameter: Parameter, attribute: str) -> FlowParameter:
    """Return a parameter of the FlowSpec for one of the flow."""
    kind = _kind(parameter)
    arguments: list[tuple[str, Any]] = []
    if parameter.default is not None:
        arguments.append(("default", _default(parameter.default, kind)))
    elif parameter.required:
        arguments.append(("required", True))
    arguments.append(("help", parameter.type))
    return FlowParameter(attribute, parameter_name(parameter.name), kind, tuple(arguments))


def argument(value: Any, kind: str) -> str | None:
    """Return a value as Metaflow's command line takes it; None where it cannot (a value beyond JSON, or far too long for it)."""
    try:
        text = value if kind == "str" and isinstance(value, str) else json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return None
    if kind == "bool":
        text = str(bool(value))
    return text if len(text.encode()) <= LONGEST else None


def _kind(parameter: Parameter) -> str:
    """Return the plain type that a parameter's JSON schema names, null aside; else JSON."""
    schema = parameter.json_schema or {}
    options = schema.get("anyOf")
    found = [schema, *(o for o in options if isinstance(o, dict))] if isinstance(options, list) else [schema]
    kinds = {str(o["type"]) for o in found if isinstance(o.get("type"), str)} - {"null"}
    kind = _PLAIN.get(kinds.pop(), "JSONType") if len(kinds) == 1 and "enum" not in schema else "JSONType"
    return kind if parameter.default is None or _fits(parameter.default, kind) else "JSONType"


def _fits(default: object, kind: str) -> bool:
    wanted: dict[str, type | tuple[type, ...]] = {"int": int, "float": (int, float), "str": str, "bool": bool}
    return kind == "JSONType" or (isinstance(default, wanted[kind]) and (kind == "bool") == isinstance(default, bool))


def _default(default: Any, kind: str) -> Any:
    if kind == "JSONType":
        return json.dumps(default, ensure_ascii=False)
    return float(default) if kind == "float" else default
