"""`step.map` outside of a flow: a loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flowbridge.authoring.items import Each, Origin, origin_of, path_of
from flowbridge.authoring.signature import Signature
from flowbridge.errors import FlowError


def map_plainly(function: Callable[..., Any], signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """Call a function once for each item.

    Raises:
        FlowError: Nothing stands in `each(...)`, lists differ in length, or arguments do not fit.
    """
    name = getattr(function, "__name__", repr(function))
    problems = [f"step {name!r}: {problem}" for problem in signature.bind(args, kwargs)[1]]
    lengths = {len(origin.values) for origin in _origins([*args, *kwargs.values()])}
    if not lengths:
        problems.append(f"step {name!r}: .map(...) without each(...): say what to go through, such as x=each(xs).")
    if len(lengths) > 1:
        problems.append(
            f"step {name!r}: lists in several each(...) must be of one length, and they have {', '.join(map(str, sorted(lengths)))}."
        )
    if problems:
        raise FlowError(problems)
    return [function(*(_at(a, i) for a in args), **{k: _at(v, i) for k, v in kwargs.items()}) for i in range(lengths.pop())]


def _origins(values: Sequence[Any]) -> list[Origin]:
    found: list[Origin] = []
    for value in values:
        if isinstance(value, Each):
            found.append(origin_of(value))
        elif type(value) in (list, tuple):
            found.extend(_origins(value))
        elif type(value) is dict:
            found.extend(_origins(list(value.values())))
    return found


def _at(value: Any, position: int) -> Any:
    if isinstance(value, Each):
        item = origin_of(value).values[position]
        for part in path_of(value):
            item = getattr(item, str(part.key)) if part.kind == "attr" else item[part.key]
        return item
    if type(value) in (list, tuple):
        return type(value)(_at(part, position) for part in value)
    if type(value) is dict:
        return {key: _at(part, position) for key, part in value.items()}
    return value
