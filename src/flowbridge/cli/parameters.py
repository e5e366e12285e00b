"""The options that a flow's parameters give: ``--NAME VALUE``."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from flowbridge.errors import ParameterError, suggest

if TYPE_CHECKING:
    from flowbridge.authoring.traced import TracedFlow

_TRUTH = {"true", "false", "yes", "no", "1", "0"}
_LISTS = (list, tuple, set, frozenset, Sequence, AbstractSet, Collection)


class Spelling(typing.NamedTuple):
    """What one option stands for.

    Attributes:
        name: Of the parameter.
        value: What the option says without a value; None: a value follows.
    """

    name: str
    value: str | None = None


def given(words: tuple[Sequence[str], Collection[str]], pairs: Sequence[str], annotations: Mapping[str, Any]) -> dict[str, str]:
    """Return the text of each parameter that a command line gives, as an option of its name or as ``--param NAME=VALUE``.

    Args:
        words: What is no option of the command itself; and the options of the command itself, for suggestions.
        pairs: What ``--param`` was given.
        annotations: Of each parameter of the flow.

    Raises:
        ParameterError: An option is unknown, lacks its value, or is given twice, or a pair is none.
    """
    rest, own = words
    texts = read(rest, annotations, own)
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ParameterError(f"--param {pair}: write it as NAME=VALUE")
        texts |= read([f"--{name}={value}"], annotations, ())
    return texts


def read(tokens: Sequence[str], annotations: Mapping[str, Any], own: Collection[str]) -> dict[str, str]:
    """Return the text of each parameter that some words of a command line give.

    Args:
        tokens: What is no option of the command itself.
        annotations: Of each parameter of the flow.
        own: The options of the command itself, for suggestions.

    Raises:
        ParameterError: An option is unknown, lacks its value, or is given twice.
    """
    found: dict[str, list[str]] = {}
    spellings = _spellings(annotations)
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--"):
            raise ParameterError(f"Unexpected argument {token!r}: parameters are given by name, --NAME VALUE.{_takes(annotations)}")
        word, equals, value = token.partition("=")
        spelling = spellings.get(word)
        if spelling is None:
            raise ParameterError(f"Unknown option {word}.{suggest(word, [*spellings, *own])}{_takes(annotations)}")
        found.setdefault(spelling.name, []).append(value if equals else _value(word, spelling, rest))
    return {name: _joined(name, annotations[name], values) for name, values in found.items()}


def split(tokens: Sequence[str], flags: Collection[str], valued: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the words of a command line that are for the command itself (the first positional one included), and the others.

    Args:
        tokens: All words.
        flags: Options of the command that take no value.
        valued: Options of the command that take one.
    """
    own: list[str] = []
    others: list[str] = []
    has_target = False
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        word = token.partition("=")[0]
        if word in flags:
            own.append(token)
        elif word in valued:
            own += [token, *([] if "=" in token or not rest else [rest.pop(0)])]
        elif token.startswith("--"):
            others += [token, *([rest.pop(0)] if "=" not in token and rest and not rest[0].startswith("--") else [])]
        elif not has_target:
            has_target = True
            own.append(token)
        else:
            others.append(token)
    return own, others


def describe(traced: TracedFlow) -> list[tuple[str, str, str]]:
    """Return each parameter as help shows it: option, type, default."""
    rows = []
    for parameter in traced.graph.parameters:
        option = f"--{parameter.name.replace('_', '-')}"
        if is_flag(traced.parameters[parameter.name]):
            option += f" / --no-{parameter.name.replace('_', '-')}"
        default = "required" if parameter.required else f"default: {traced.defaults[parameter.name]!r}"
        rows.append((option, parameter.type, default))
    return rows


def is_flag(annotation: Any) -> bool:
    """Tell whether a parameter is a bool."""
    return any(part is bool for part in _parts(annotation))


def is_list(annotation: Any) -> bool:
    """Tell whether a parameter takes several values."""
    origins = [typing.get_origin(part) or part for part in _parts(annotation)]
    return any(origin in _LISTS for origin in origins) and str not in origins


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union (or the one type), what stands in Annotated included."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _parts(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for part in typing.get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def _spellings(annotations: Mapping[str, Any]) -> dict[str, Spelling]:
    found: dict[str, Spelling] = {}
    for name, annotation in annotations.items():
        flag = is_flag(annotation)
        for shown in (name, name.replace("_", "-")):
            found[f"--{shown}"] = Spelling(name, "true" if flag else None)
            if flag:
                found.setdefault(f"--no-{shown}", Spelling(name, "false"))
    return found


def _value(word: str, spelling: Spelling, rest: list[str]) -> str:
    """Take the value of an option off the next words: of a flag only if the next one looks like it."""
    following = rest[0] if rest else None
    if spelling.value is not None:
        return rest.pop(0) if spelling.value == "true" and following is not None and following.lower() in _TRUTH else spelling.value
    if following is None or following.startswith("--"):
        raise ParameterError(f"Option {word} needs a value.")
    return rest.pop(0)


def _joined(name: str, annotation: Any, values: list[str]) -> str:
    """Return the one text of a parameter; of a list, as JSON, whichever way its items were written."""
    if not is_list(annotation):
        if len(values) > 1:
            raise ParameterError(f"Option --{name.replace('_', '-')} is given {len(values)} times, and takes one value.")
        return values[0]
    if len(values) == 1 and values[0].lstrip().startswith("["):
        return values[0]
    items = [item.strip() for value in values for item in (value.split(",") if value else [])]
    return json.dumps(items)


def _takes(annotations: Mapping[str, Any]) -> str:
    if not annotations:
        return " The flow takes no parameters."
    return " The flow takes: " + ", ".join(f"--{name.replace('_', '-')}" for name in annotations) + "."
