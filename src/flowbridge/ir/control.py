"""Maps (one task per item) and the conditions that guard steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from flowbridge.ir.base import FrozenModel, TaggedModel
from flowbridge.ir.bindings import Binding


class Truth(TaggedModel):
    """A bool output or parameter, as it is."""

    kind: Literal["truth"] = "truth"
    value: Binding


class Compare(TaggedModel):
    """One comparison of two values."""

    kind: Literal["compare"] = "compare"
    op: Literal["==", "!=", "<", "<=", ">", ">="]
    left: Binding
    right: Binding


class And(TaggedModel):
    """Both conditions hold."""

    kind: Literal["and"] = "and"
    left: Condition
    right: Condition


class Or(TaggedModel):
    """At least one condition holds."""

    kind: Literal["or"] = "or"
    left: Condition
    right: Condition


class Not(TaggedModel):
    """The condition does not hold."""

    kind: Literal["not"] = "not"
    operand: Condition


Condition = Annotated[Truth | Compare | And | Or | Not, Field(discriminator="kind")]

for _model in (And, Or, Not):
    _model.model_rebuild()


class MapNode(FrozenModel):
    """One expansion: the steps (and maps) whose `scope` names it run once per item.

    Attributes:
        id: Unique in the flow; never the id of a step.
        scope: The maps this one is inside of, outermost first.
        sources: Name of each item field and the list it is taken from; several are zipped and must be of one length.
        guards: Conditions that must all hold, else the whole map is skipped.
        parallel: At most this many items at once.
        batch: Items that one launched process takes, one after the other. Only for maps over one step.
        group: Names of the inlined flows this map stands in, outermost first.
        after: Steps that must have ended before the map is expanded, without data.
    """

    id: str
    scope: tuple[str, ...] = ()
    sources: tuple[tuple[str, Binding], ...]
    guards: tuple[Condition, ...] = ()
    parallel: int | None = Field(default=None, ge=1)
    batch: int | None = Field(default=None, ge=1)
    group: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def bindings_of(condition: Condition) -> Iterator[Binding]:
    """Yield every binding that a condition reads."""
    if isinstance(condition, Truth):
        yield condition.value
    elif isinstance(condition, Compare):
        yield condition.left
        yield condition.right
    elif isinstance(condition, Not):
        yield from bindings_of(condition.operand)
    else:
        yield from bindings_of(condition.left)
        yield from bindings_of(condition.right)
