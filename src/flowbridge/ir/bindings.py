"""Where an input of a step comes from. Bindings are resolved by the worker, from records alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer

from flowbridge.ir.base import FOR_DIGEST, FrozenModel, JsonValue, TaggedModel


class PathItem(FrozenModel):
    """One step of a deferred access on an output: ``.accuracy`` or ``["a"]`` / ``[3]``."""

    kind: Literal["attr", "item"]
    key: str | int


Path = tuple[PathItem, ...]


class Constant(TaggedModel):
    """A value known when the flow was built.

    Values that JSON holds exactly are kept as they are. Any other (an array in a notebook, a tuple, an object of the user's)
    is pickled by value, base64, in `pickled`; `value` is then None and `shown` its repr.
    """

    kind: Literal["constant"] = "constant"
    value: JsonValue = None
    pickled: str | None = None
    shown: str | None = None


class FromParameter(TaggedModel):
    """The value of a flow parameter, or something inside it."""

    kind: Literal["parameter"] = "parameter"
    name: str
    path: Path = ()


class FromStep(TaggedModel):
    """An output of a step, or something inside it.

    With c the number of leading maps that the scopes of producer and consumer share, the first c indices of the consumer
    choose the task; every further map of the producer collects: the value is then a list, in the order of the items, nested once
    for each such map. `path` is applied to each collected value, not to the list; a `path` on the collected list itself is in `then`.
    """

    kind: Literal["step"] = "step"
    step: str
    output: str
    path: Path = ()
    then: Path = ()


class FromItem(TaggedModel):
    """The item that this task of a map is for (`each(...)`), or something inside it."""

    kind: Literal["item"] = "item"
    map: str
    field: str
    path: Path = ()


class FirstOf(TaggedModel):
    """The first of several values that was not skipped."""

    kind: Literal["first"] = "first"
    choices: tuple[Binding, ...]
    path: Path = ()


class ListOf(TaggedModel):
    """A list (or tuple) written in the flow with outputs inside it. Skipped ones make the whole skipped."""

    kind: Literal["list"] = "list"
    items: tuple[Binding, ...]
    tuple_: bool = False


class DictOf(TaggedModel):
    """A dict written in the flow with outputs among its values."""

    kind: Literal["dict"] = "dict"
    items: tuple[tuple[str, Binding], ...]


class RecordOf(TaggedModel):
    """A NamedTuple or dataclass made in the flow with outputs among its fields. Skipped ones make the whole skipped.

    `make` is its class, called with the fields by name; `type` is the class's ``module:qualname``, by which it is known without loading a pickle.
    Where that is there, digests leave `make` out: a class that cannot be imported is pickled differently in each process.
    """

    kind: Literal["record"] = "record"
    make: Constant
    type: str | None = None
    items: tuple[tuple[str, Binding], ...]

    @model_serializer(mode="wrap")
    def _keep_kind(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:  # type: ignore[override]
        written = {**handler(self), "kind": self.kind}
        if self.type is not None and (info.context or {}).get(FOR_DIGEST):
            written.pop("make", None)
        return written


class GridOf(TaggedModel):
    """Every combination of some lists, as a list of dicts; the first name varies slowest."""

    kind: Literal["grid"] = "grid"
    items: tuple[tuple[str, Binding], ...]
    path: Path = ()


class Collected(TaggedModel):
    """The list that a map of a flow gives where its body returns something other than a plain output of one of its own steps.

    `value` is resolved once for each item, as a step inside the map would resolve it; items for which it is skipped are left out.
    The map's own scope is a prefix of the consumer's. `path` is applied to the list.
    """

    kind: Literal["collected"] = "collected"
    map: str
    value: Binding
    path: Path = ()


Binding = Annotated[
    Constant | FromParameter | FromStep | FromItem | FirstOf | ListOf | DictOf | RecordOf | GridOf | Collected,
    Field(discriminator="kind"),
]

for _model in (FirstOf, ListOf, DictOf, RecordOf, GridOf, Collected):
    _model.model_rebuild()


def walk(binding: Binding) -> Iterator[Binding]:
    """Yield a binding and every binding inside it."""
    yield binding
    if isinstance(binding, FirstOf):
        for choice in binding.choices:
            yield from walk(choice)
    elif isinstance(binding, ListOf):
        for item in binding.items:
            yield from walk(item)
    elif isinstance(binding, DictOf | RecordOf | GridOf):
        for _, item in binding.items:
            yield from walk(item)
    elif isinstance(binding, Collected):
        yield from walk(binding.value)


def steps_in(binding: Binding) -> Iterator[str]:
    """Yield the id of each step that a binding takes an output of."""
    for part in walk(binding):
        if isinstance(part, FromStep):
            yield part.step


def maps_in(binding: Binding) -> Iterator[str]:
    """Yield the id of each map that a binding takes an item of, or collects."""
    for part in walk(binding):
        if isinstance(part, FromItem | Collected):
            yield part.map


def parameters_in(binding: Binding) -> Iterator[str]:
    """Yield the name of each flow parameter that a binding reads."""
    for part in walk(binding):
        if isinstance(part, FromParameter):
            yield part.name
