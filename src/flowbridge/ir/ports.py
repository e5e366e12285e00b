"""The named outputs of a step and the parameters of a flow."""

from __future__ import annotations

from typing import Literal

from flowbridge.ir.base import FrozenModel, JsonValue

OutputKind = Literal["none", "single", "tuple", "fields"]
SINGLE = "result"


class Port(FrozenModel):
    """One output of a step; `type` is the annotation as text, for people."""

    name: str
    type: str = "Any"


class Parameter(FrozenModel):
    """A parameter of a flow.

    Attributes:
        name: As the user wrote it.
        type: The annotation as text, for people.
        json_schema: JSON schema of the annotation where it has one, else None.
        required: It has no default.
        default: The default where JSON holds it.
    """

    name: str
    type: str = "Any"
    json_schema: dict[str, JsonValue] | None = None
    required: bool = True
    default: JsonValue = None
