"""The parameters of a flow as parameters of a pipeline, for runs started in Kubeflow's own pages or by a schedule."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowbridge.ir.base import JsonValue
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.ir.ports import Parameter

Json = dict[str, Any]
STRING = "STRING"
_TYPES = {
    "integer": "NUMBER_INTEGER",
    "number": "NUMBER_DOUBLE",
    "boolean": "BOOLEAN",
    "array": "LIST",
    "object": "STRUCT",
    "string": STRING,
}
_EMPTY: Mapping[str, Any] = {"NUMBER_INTEGER": 0, "NUMBER_DOUBLE": 0.0, "BOOLEAN": False, "LIST": [], "STRUCT": {}, STRING: ""}
LONGEST = 1000
"""Characters of JSON up to which a value is shown in Kubeflow; the server's own limit for an input is about 10,000."""


def declare(parameter: Parameter) -> Json:
    """Return the declaration of a flow parameter.

    A default that the server could touch (Argo's templating reads ``{{``) or that no type of Kubeflow's holds stays out of the pipeline:
    the parameter is then a text, and the empty text means the flow's own default.
    """
    kind = kind_of(parameter)
    declared: Json = {"parameterType": kind}
    if not parameter.required:
        declared["defaultValue"] = parameter.default if _holds(kind, parameter.default) else ""
        declared["isOptional"] = True
    return declared


def kind_of(parameter: Parameter) -> str:
    """Return the type Kubeflow gives a parameter: that of its JSON schema where its default fits, else a text."""
    kind = _TYPES.get(str((parameter.json_schema or {}).get("type")), STRING)
    if not parameter.required and not _holds(kind, parameter.default):
        return STRING
    return kind


def shown(parameter: Parameter, value: JsonValue) -> JsonValue:
    """Return what a run submitted by flowbridge gives for a parameter: its value where that is harmless, else something empty.

    It is for people alone; such a run has its parameters in the store.
    """
    kind = kind_of(parameter)
    if _holds(kind, value):
        return value
    text = json.dumps(value, ensure_ascii=False) if value is not None else ""
    if kind == STRING and is_harmless(text):
        return text
    default: JsonValue = declare(parameter).get("defaultValue", _EMPTY[kind])
    return default


def is_harmless(value: object) -> bool:
    """Say whether a value may stand in a pipeline: short, and nothing in it that Argo's templating would replace."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return len(text) <= LONGEST and "{{" not in text


def given(graph: FlowGraph, inputs: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return the parameters that somebody set in Kubeflow, by name, with the types that the flow wants.

    Args:
        graph: The flow.
        inputs: All inputs of the task, as the server hands them over.

    Raises:
        ValueError: A text does not read as the type the parameter has.
    """
    found: dict[str, JsonValue] = {}
    for parameter in graph.parameters:
        if parameter.name not in inputs:
            continue
        value = inputs[parameter.name]
        if not parameter.required and value == declare(parameter)["defaultValue"]:
            continue
        found[parameter.name] = _read(parameter, value)
    return found


def _read(parameter: Parameter, value: JsonValue) -> JsonValue:
    schema = parameter.json_schema or {}
    if isinstance(value, str) and schema.get("type") != "string":
        try:
            value = json.loads(value)
        except ValueError:
            if _TYPES.get(str(schema.get("type"))) is not None:
                raise ValueError(f"parameter {parameter.name!r}: {value!r} is not JSON of type {schema['type']}") from None
    return fit(value, schema)


def fit(value: JsonValue, schema: Mapping[str, Any]) -> JsonValue:
    """Return a value with whole numbers where the schema says integer: Kubeflow keeps all numbers as floats."""
    kind = schema.get("type")
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == "array" and isinstance(value, list):
        return [fit(item, schema.get("items") or {}) for item in value]
    if kind == "object" and isinstance(value, dict):
        fields, rest = schema.get("properties") or {}, schema.get("additionalProperties")
        other = rest if isinstance(rest, dict) else {}
        return {key: fit(member, fields.get(key, other)) for key, member in value.items()}
    return value


def _holds(kind: str, value: JsonValue) -> bool:
    """Say whether a parameter of that type carries the value unchanged and unharmed."""
    if not is_harmless(value):
        return False
    if isinstance(value, bool):
        return kind == "BOOLEAN"
    if isinstance(value, int):
        return kind == "NUMBER_DOUBLE" or (kind == "NUMBER_INTEGER" and abs(value) < 2**53)
    if isinstance(value, float):
        return kind == "NUMBER_DOUBLE" and math.isfinite(value)
    if isinstance(value, str):
        return kind == STRING
    return value is not None and kind == ("LIST" if isinstance(value, list) else "STRUCT")
