"""Canonical JSON and digests: the same flow has the same digest on every machine and Python."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from flowbridge.ir.base import FOR_DIGEST

if TYPE_CHECKING:
    from pydantic import BaseModel


def canonical_json(value: object) -> bytes:
    """Return the one JSON text of a value: sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: The value holds a NaN or an infinity, which JSON cannot say.
    """
    return json.dumps(
        value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    ).encode()


def dump(model: BaseModel) -> bytes:
    """Return the canonical JSON of a model, fields at their defaults left out.

    Leaving defaults out means that a field added later does not change the digest of flows that do not use it.
    """
    return canonical_json(model.model_dump(mode="json", exclude_defaults=True))


def digest_of(model: BaseModel) -> str:
    """Return the SHA-256 of a model's canonical JSON, as lowercase hex; what differs in each process of the same code is left out."""
    written = model.model_dump(mode="json", exclude_defaults=True, context={FOR_DIGEST: True})
    return hashlib.sha256(canonical_json(written)).hexdigest()
