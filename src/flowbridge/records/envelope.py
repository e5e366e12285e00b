"""How a record is written: one JSON object that carries its own checksum, so that one damaged byte is noticed and named."""

from __future__ import annotations

import hashlib
from typing import TypeVar

from pydantic import ValidationError

from flowbridge.errors import ArtifactDamagedError
from flowbridge.ir.base import FrozenModel

Model = TypeVar("Model", bound=FrozenModel)

_HEAD = b'{"digest":"sha256:'
_MIDDLE = b'","record":'
_HEX = 64
_BODY = len(_HEAD) + _HEX + len(_MIDDLE)


def seal(record: FrozenModel) -> bytes:
    """Return the text of a record: ``{"digest": ..., "record": {...}}``, fields at their defaults left out."""
    return seal_body(record.model_dump_json(exclude_defaults=True).encode())


def seal_body(body: bytes) -> bytes:
    """Return the envelope of a record that is JSON text already."""
    return b"".join((_HEAD, hashlib.sha256(body).hexdigest().encode(), _MIDDLE, body, b"}"))


def unseal(data: bytes, model: type[Model], name: str) -> Model:
    """Read a record back.

    Args:
        data: What `seal` made.
        model: The class of the record.
        name: Of the file, for the error.

    Raises:
        ArtifactDamagedError: The bytes are not those that were written; names the file and what to do.
    """
    body = data[_BODY:-1]
    given = data[len(_HEAD) : len(_HEAD) + _HEX]
    whole = data[: len(_HEAD)] == _HEAD and data[_BODY - len(_MIDDLE) : _BODY] == _MIDDLE and data[-1:] == b"}"
    if not whole or hashlib.sha256(body).hexdigest().encode() != given:
        raise _damaged(model, name)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _newer(model, name, error) from None


def _damaged(model: type[FrozenModel], name: str) -> ArtifactDamagedError:
    way_out = (
        "Delete the file: all that it says is also in the tasks' own records"
        if model.__name__ == "RunSummary"
        else "Restore the file from a copy of the store, or run that part again: flowbridge resume makes new records"
    )
    return ArtifactDamagedError(
        f"The {_what(model)} {name} is damaged: its bytes are not those that were written (the checksum inside it differs). {way_out}"
    )


def _newer(model: type[FrozenModel], name: str, error: ValidationError) -> ArtifactDamagedError:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "it"
    return ArtifactDamagedError(
        f"The {_what(model)} {name} cannot be read by this version of flowbridge ({where}: {first['msg']}); "
        f"it was probably written by a newer one: upgrade flowbridge"
    )


def _what(model: type[FrozenModel]) -> str:
    return {
        "RunRecord": "record of a run",
        "TaskStarted": "record of a task's start",
        "TaskRecord": "record of a task",
        "RunEnd": "record of a run's end",
        "RunNative": "record of a run's native name",
        "RunSummary": "summary of a run",
        "Gathered": "record of a collected list",
    }.get(model.__name__, "record")
