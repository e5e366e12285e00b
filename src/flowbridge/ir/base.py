"""The base of all intermediate-representation models: frozen, strict about unknown fields."""

from __future__ import annotations

from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
)

__all__ = ["FOR_DIGEST", "FrozenModel", "JsonValue", "TaggedModel"]

FOR_DIGEST = "for_digest"
"""Stands in the context of a serialization whose result is only digested."""


class FrozenModel(BaseModel):
    """An immutable value; two with equal fields are equal and hash alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TaggedModel(FrozenModel):
    """One of several models told apart by `kind`, which is therefore written even where defaults are left out."""

    @model_serializer(mode="wrap")
    def _keep_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {**handler(self), "kind": getattr(self, "kind")}  # noqa: B009  (declared by each subclass)
