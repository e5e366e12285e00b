"""Values that do not exist yet: where each will come from, what is known of its type, and how access on it is deferred."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from flowbridge.authoring import annotations as a
from flowbridge.authoring.tracing import Tracer
from flowbridge.errors import suggest
from flowbridge.ir.bindings import Binding, Collected, Constant, FirstOf, FromItem, FromParameter, FromStep, GridOf, PathItem, walk
from flowbridge.ir.control import Condition

_LEAF = (FromStep, FromParameter, FromItem, GridOf, Collected)


@dataclass(frozen=True, eq=False)
class Deferred:
    """A value that will exist when the flow runs.

    Attributes:
        tracer: The flow it belongs to.
        scope: The maps it is inside of.
        label: What it is, for messages: ``output of step 'train'``.
        annotation: Its type, as far as known.
    """

    tracer: Tracer
    scope: tuple[str, ...]
    label: str
    annotation: Any = a.UNKNOWN

    def binding(self) -> Binding:
        """Return where the value comes from."""
        raise NotImplementedError

    def attribute(self, name: str) -> Deferred:
        """Return the value of an attribute of it."""
        raise NotImplementedError

    def item(self, key: Any) -> Deferred:
        """Return the value of an item of it."""
        raise NotImplementedError

    def unpacked(self) -> list[Deferred] | None:
        """Return its items where their number is known from its type."""
        items = a.tuple_items(self.annotation)
        return None if items is None else [self.item(i) for i in range(len(items))]

    def waits_for(self) -> tuple[str, ...]:
        """Return the ids of the steps that make it."""
        return tuple(dict.fromkeys(part.step for part in walk(self.binding()) if isinstance(part, FromStep)))

    def missing_attribute(self, name: str, fields: list[str]) -> None:
        """Keep the problem that the value certainly has no such attribute."""
        self.tracer.problem(f"{self.label} has no {name!r}; it has {', '.join(fields)}.{suggest(name, fields)}")

    def bad_key(self, key: Any) -> bool:
        """Keep the problem of a key that cannot be deferred; tell whether there was one."""
        if isinstance(key, (str, int)) and not isinstance(key, bool):
            return False
        self.tracer.refuse(
            f"{self.label} cannot be accessed with [{_shown(key)}] in a flow: only texts and whole numbers can stand there. Use a step that does it."
        )
        return True


def _shown(key: Any) -> str:
    if isinstance(key, slice):
        return ":".join("" if part is None else repr(part) for part in (key.start, key.stop, key.step)[: 3 if key.step else 2])
    return repr(key)


@dataclass(frozen=True, eq=False)
class Value(Deferred):
    """A value with a source of its own.

    Attributes:
        source: Where it comes from.
        listed: The source is collected into a list, and access is on that list.
    """

    source: Binding = field(default_factory=Constant)
    listed: bool = False

    def binding(self) -> Binding:
        """Return where the value comes from."""
        return self.source

    def attribute(self, name: str) -> Deferred:
        """Return the value of an attribute of it."""
        fields = a.missing_attribute(self.annotation, name)
        if self.listed and not self._accessed():
            self.tracer.refuse(
                f"{self.label} is a list, one item for each task of the map; it has no {name!r}. "
                f"Take an item of it ([0]), or pass the list to a step that goes through it."
            )
        elif fields is not None:
            self.missing_attribute(name, fields)
        return self._deeper(PathItem(kind="attr", key=name), f".{name}", a.attribute_type(self.annotation, name))

    def item(self, key: Any) -> Deferred:
        """Return the value of an item of it."""
        if self.bad_key(key):
            return broken(self)
        items = a.tuple_items(self.annotation)
        if items is not None and isinstance(key, int) and not -len(items) <= key < len(items):
            self.tracer.problem(f"{self.label} has {len(items)} items, so there is no item {key}.")
        return self._deeper(PathItem(kind="item", key=key), f"[{key!r}]", a.item_type(self.annotation, key))

    def _accessed(self) -> bool:
        return bool(self.source.then if isinstance(self.source, FromStep) else getattr(self.source, "path", ()))

    def _deeper(self, part: PathItem, shown: str, annotation: Any) -> Deferred:
        assert isinstance(self.source, _LEAF)
        key = "then" if self.listed and isinstance(self.source, FromStep) else "path"
        source = self.source.model_copy(update={key: (*getattr(self.source, key), part)})
        return replace(self, source=source, label=f"{self.label}{shown}", annotation=annotation)


@dataclass(frozen=True, eq=False)
class Whole(Deferred):
    """All outputs of a step that has several.

    Attributes:
        step: Id of the step.
        outputs: Name and type of each output.
        named: The outputs are found by name.
        ordered: The outputs are found by position.
        joinable: The worker can make one value of them again.
    """

    step: str = ""
    outputs: tuple[tuple[str, Any], ...] = ()
    named: bool = True
    ordered: bool = False
    joinable: bool = True

    def binding(self) -> Binding:
        """Return where the value comes from."""
        if not self.joinable:
            self.tracer.problem(f"{self.label} is several files; pass one of them: {', '.join(n for n, _ in self.outputs)}.")
        return FromStep(step=self.step, output="*")

    def waits_for(self) -> tuple[str, ...]:
        """Return the id of the step."""
        return (self.step,)

    def attribute(self, name: str) -> Deferred:
        """Return the output of that name, or an attribute of the whole that is no output."""
        if self.named and name in dict(self.outputs):
            return self._output(name, f".{name}")
        if not self.joinable:
            self.missing_attribute(name, [n for n, _ in self.outputs])
            return broken(self)
        return self._whole().attribute(name)

    def item(self, key: Any) -> Deferred:
        """Return an output by its position."""
        if self.ordered and isinstance(key, int) and -len(self.outputs) <= key < len(self.outputs):
            return self._output(self.outputs[key][0], f"[{key}]")
        return self._whole().item(key)

    def _output(self, name: str, shown: str) -> Deferred:
        return Value(self.tracer, self.scope, f"{self.label}{shown}", dict(self.outputs)[name], FromStep(step=self.step, output=name))

    def _whole(self) -> Value:
        return Value(self.tracer, self.scope, self.label, self.annotation, self.binding())


@dataclass(frozen=True, eq=False)
class Choice(Deferred):
    """The first of several that was not skipped. Access goes to each of them, so that only what is needed is loaded."""

    choices: tuple[Deferred, ...] = ()

    def binding(self) -> Binding:
        """Return where the value comes from."""
        return FirstOf(choices=tuple(choice.binding() for choice in self.choices))

    def attribute(self, name: str) -> Deferred:
        """Return the value of an attribute of it."""
        return self._over(lambda choice: choice.attribute(name), f".{name}")

    def item(self, key: Any) -> Deferred:
        """Return the value of an item of it."""
        if self.bad_key(key):
            return broken(self)
        return self._over(lambda choice: choice.item(key), f"[{key!r}]")

    def _over(self, access: Callable[[Deferred], Deferred], shown: str) -> Deferred:
        choices = tuple(map(access, self.choices))
        return replace(self, choices=choices, label=f"{self.label}{shown}", annotation=a.union_of([c.annotation for c in choices]))


@dataclass(frozen=True, eq=False)
class Nothing(Deferred):
    """What a step or flow gives that returns nothing: good for `after` only."""

    steps: tuple[str, ...] = ()

    def binding(self) -> Binding:
        """Keep the problem that there is no value."""
        self.tracer.problem(
            f"{self.label} returns nothing, so there is no value to use. Annotate what it returns, or order with .options(after=[...])."
        )
        return Constant()

    def attribute(self, name: str) -> Deferred:
        """Keep the problem that there is no value."""
        self.tracer.problem(f"{self.label} returns nothing, so it has no {name!r}. Annotate what it returns.")
        return broken(self)

    def item(self, key: Any) -> Deferred:
        """Keep the problem that there is no value."""
        self.tracer.problem(f"{self.label} returns nothing, so it has no item {key!r}. Annotate what it returns.")
        return broken(self)

    def waits_for(self) -> tuple[str, ...]:
        """Return the ids of the steps."""
        return self.steps


@dataclass(frozen=True, eq=False)
class Comparison(Deferred):
    """The outcome of a comparison, for `when`."""

    condition: Condition | None = None

    def binding(self) -> Binding:
        """Keep the problem that a comparison is no value."""
        self.tracer.problem(f"{self.label} is for when(...) only and cannot be passed on. Compare inside a step that returns a bool.")
        return Constant()

    def attribute(self, name: str) -> Deferred:
        """Keep the problem that a comparison is no value."""
        self.tracer.refuse(f"{self.label} is for when(...) only; it has no {name!r}.")
        return broken(self)

    def item(self, key: Any) -> Deferred:
        """Keep the problem that a comparison is no value."""
        self.tracer.refuse(f"{self.label} is for when(...) only; it has no item {key!r}.")
        return broken(self)


@dataclass(frozen=True, eq=False)
class Broken(Deferred):
    """Something to go on with after a problem, so that further ones are found; fits everywhere."""

    def binding(self) -> Binding:
        """Return a placeholder; the flow is never used."""
        return Constant()

    def attribute(self, name: str) -> Deferred:  # noqa: ARG002  (anything goes)
        """Return itself."""
        return self

    def item(self, key: Any) -> Deferred:  # noqa: ARG002
        """Return itself."""
        return self


def broken(near: Deferred) -> Broken:
    """Return something to go on with in place of a value."""
    return Broken(near.tracer, near.scope, near.label)
