"""Parameters of a flow: described as data, checked and coerced with pydantic."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from flowbridge.authoring import annotations as a
from flowbridge.authoring.signature import Signature
from flowbridge.authoring.values import is_json, shown
from flowbridge.errors import ParameterError
from flowbridge.ir.ports import Parameter


def describe(signature: Signature) -> tuple[Parameter, ...]:
    """Return the parameters of a flow as data."""
    return tuple(
        Parameter(
            name=p.name,
            type=a.show(signature.wants(p.name)),
            json_schema=_schema(signature.wants(p.name)),
            required=p.default is p.empty,
            default=p.default if p.default is not p.empty and is_json(p.default) else None,
        )
        for p in signature.parameters.values()
    )


def _schema(annotation: Any) -> dict[str, Any] | None:
    if annotation is a.UNKNOWN:
        return None
    try:
        return adapter_for(annotation).json_schema()
    except (PydanticUserError, TypeError, ValueError):  # a type that JSON cannot describe
        return None


def adapter_for(annotation: Any) -> TypeAdapter[Any]:
    """Return what checks and coerces values of an annotation; of classes pydantic does not know, only the class is checked."""
    try:
        return _cached_adapter(annotation)
    except TypeError:  # not hashable: an Annotated with a list in it, say
        return _adapter(annotation)


@cache
def _cached_adapter(annotation: Any) -> TypeAdapter[Any]:
    return _adapter(annotation)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    for candidate in (annotation, get_origin(annotation)):
        if candidate is None:
            continue
        for config in (ConfigDict(arbitrary_types_allowed=True), None):
            try:
                return TypeAdapter(candidate, config=config)
            except (PydanticUserError, NameError, AttributeError, TypeError):
                continue
    return TypeAdapter(Any)


def coerce(flow: str, signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every parameter, defaults included.

    Raises:
        ParameterError: Arguments are missing, unknown or of the wrong type; lists all of them.
    """
    found, problems = signature.bind(args, kwargs)
    given = ((argument.name, argument.annotation, argument.value) for argument in found)
    values = _read(given, lambda annotation, value: adapter_for(annotation).validate_python(value), problems)
    _raise(flow, problems)
    return _with_defaults(signature, values)


def coerce_text(flow: str, signature: Signature, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the value of every parameter from texts, as a command line gives them: lists and dicts are written as JSON.

    Raises:
        ParameterError: Arguments are missing, unknown or of the wrong type; lists all of them.
    """
    found, problems = signature.bind((), texts)
    values = _read(((argument.name, argument.annotation, argument.value) for argument in found), _from_text, problems)
    _raise(flow, [_as_option(p, signature.parameters) for p in problems])
    return _with_defaults(signature, values)


def _as_option(problem: str, names: Iterable[str]) -> str:
    """Return a problem with what to do as a command line writes it."""
    missing = next((name for name in names if problem.endswith(f" Give it: {name}=...")), None)
    return problem if missing is None else f"{problem.removesuffix(f'{missing}=...')}--{missing.replace('_', '-')} VALUE"


def coerce_some_text(flow: str, signature: Signature, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the value of the parameters that are given as texts; others may be missing.

    Raises:
        ParameterError: Arguments are of the wrong type; lists all of them.
    """
    problems: list[str] = []
    values = _read(((name, signature.wants(name), text) for name, text in texts.items()), _from_text, problems)
    _raise(flow, problems)
    return values


def _read(given: Iterable[tuple[str, Any, Any]], read: Callable[[Any, Any], Any], problems: list[str]) -> dict[str, Any]:
    """Return values by name, each read as its annotation says; what cannot be read is added to the problems."""
    values: dict[str, Any] = {}
    for name, annotation, value in given:
        try:
            values[name] = read(annotation, value)
        except ValidationError as error:
            problems.append(_complaint(name, annotation, value, error))
    return values


def _from_text(annotation: Any, text: str) -> Any:
    adapter = adapter_for(annotation)
    if annotation is a.UNKNOWN:
        try:
            return adapter.validate_json(text)
        except ValidationError:
            return text
    if text in ("null", "None") and type(None) in typing.get_args(annotation):
        return None
    try:
        return adapter.validate_python(text)
    except ValidationError as first:
        try:
            return adapter.validate_json(text)
        except ValidationError as second:
            meant = text[:1] in ("{", "[") and second.errors(include_url=False)[0]["type"] != "json_invalid"
            raise (second if meant else first) from None


def _with_defaults(signature: Signature, values: dict[str, Any]) -> dict[str, Any]:
    complete: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        complete[name] = values[name] if name in values else _default(signature.wants(name), parameter.default)
    return complete


def _default(annotation: Any, default: Any) -> Any:
    """Return a default as a value given would come out; one that does not fit its annotation stays as the user wrote it."""
    try:
        return adapter_for(annotation).validate_python(default)
    except ValidationError:
        return default


def _complaint(name: str, annotation: Any, value: Any, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = "".join(f"[{part!r}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    told = (
        f"{name}{where}: {first['msg'][0].lower()}{first['msg'][1:]}" if where else f"{name}: {first['msg'][0].lower()}{first['msg'][1:]}"
    )
    return f"parameter {told}; it wants {a.show(annotation)}, and {shown(value)} was given."


def _raise(flow: str, problems: Sequence[str]) -> None:
    if not problems:
        return
    told = [
        p
        if p.startswith("parameter")
        else "parameter" + p.removeprefix("argument").replace("there is no argument", ": there is no parameter")
        for p in problems
    ]
    if len(told) == 1:
        raise ParameterError(f"Flow {flow!r}: {told[0]}")
    raise ParameterError(f"Flow {flow!r} was called with {len(told)} mistakes:\n" + "\n".join(f"  - {t}" for t in told))
