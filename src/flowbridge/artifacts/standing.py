"""Values that stand in their reference: nothing of the store is read for them."""

from __future__ import annotations

import base64
import json
from typing import Any

from flowbridge.artifacts import digests
from flowbridge.artifacts.reference import Reference
from flowbridge.artifacts.serializers.base import titled
from flowbridge.errors import ArtifactDamagedError


def held_bytes(ref: Reference) -> bytes:
    """Return the bytes that stand in a reference.

    Raises:
        ArtifactDamagedError: They are not those that were written.
    """
    try:
        data = base64.b64decode(ref.data or "", validate=True)
    except ValueError:
        data = b""
    if len(data) != ref.blob_size or not digests.matches(data, ref.digest):
        raise _damaged_inside(ref)
    return data


def inline_reference(value: Any) -> Reference:
    """Return a reference that holds a value of a list itself, however large it is."""
    text = json.dumps(value, separators=(",", ":"))
    return Reference(
        digest=digests.digest(text.encode()),
        size=len(text),
        serializer="json",
        type=f"builtins.{type(value).__name__}",
        inline=text,
        length=len(value) if isinstance(value, list) else None,
    )


def from_inline(ref: Reference) -> Any:
    """Return the value that stands in a reference as JSON text.

    Raises:
        ArtifactDamagedError: It is not what was written, or no JSON that can be read.
    """
    assert ref.inline is not None
    try:
        if not digests.matches(ref.inline.encode(), ref.digest):
            raise _damaged_inside(ref)
        return json.loads(ref.inline)
    except (ValueError, RecursionError) as error:
        raise _damaged_inside(ref) from error


def _damaged_inside(ref: Reference) -> ArtifactDamagedError:
    return ArtifactDamagedError(f"{titled(ref)}, stands in its reference and is damaged there; run again what made it")
