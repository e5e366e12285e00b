"""pydantic models as JSON, where that gives back an equal model; pickled otherwise."""

from __future__ import annotations

import importlib
from typing import Any

from flowbridge.artifacts.serializers.base import Meta, Sink, Source, WholeSerializer
from flowbridge.errors import SerializationError


def is_exact_model(value: Any) -> bool:
    """Tell whether a model can be imported elsewhere, and comes back equal from its own JSON."""
    cls = type(value)
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__ or getattr(value, "__pydantic_private__", None):
        return False
    try:
        return bool(cls.model_validate_json(value.model_dump_json()) == value)
    except Exception:  # noqa: BLE001  (a model may raise anything; pickle then takes it)
        return False


class PydanticSerializer(WholeSerializer):
    """Models by their own JSON."""

    name = "pydantic"
    version = 1

    def save(self, value: Any, sink: Sink) -> Meta:
        """Write the model's JSON."""
        sink.write(value.model_dump_json().encode())
        return (("class", f"{type(value).__module__}:{type(value).__qualname__}"),)

    def load(self, source: Source) -> Any:
        """Validate it with the class: the one that is annotated where it is read, else the one it was saved as."""
        module, _, qualname = str(source.meta("class")).partition(":")
        hint = source.hint
        if isinstance(hint, type) and hint.__module__ == module and hint.__qualname__ == qualname:
            return hint.model_validate_json(source.bytes())  # type: ignore[attr-defined]
        source.require_trust()  # importing what a reference names runs code
        cls: Any = importlib.import_module(module)
        for name in qualname.split("."):
            cls = getattr(cls, name)
        if not hasattr(cls, "model_validate_json"):
            raise SerializationError(f"{module}.{qualname} is no pydantic model any more")
        return cls.model_validate_json(source.bytes())
