"""What users write around steps: `each`, `grid`, `when`, `otherwise`, `first`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, TypeVar, cast

from flowbridge.authoring import annotations as a
from flowbridge.authoring import items
from flowbridge.authoring.conditions import condition_of
from flowbridge.authoring.deferred import Choice, Comparison, Value
from flowbridge.authoring.handles import Handle
from flowbridge.authoring.tracing import Tracer, current
from flowbridge.authoring.values import Site, bind, wrap
from flowbridge.errors import FlowError
from flowbridge.ir.bindings import GridOf
from flowbridge.ir.control import Condition, Not

T = TypeVar("T")
_NOTHING: Any = object()


def each(values: Iterable[T]) -> T:
    """Give one item of a list to each task of a `.map(...)`.

    Several `each` in one call are taken together, first with first, second with second; their lists must be of one length.

    Args:
        values: A list, a parameter of the flow, or an output.

    Returns:
        One item, as far as types are concerned; attribute and item access on it is taken on each item.

    Raises:
        FlowError: The values are not a list of items.
    """
    return cast("T", items.made(values))


def grid(**lists: Iterable[Any]) -> list[dict[str, Any]]:
    """Return every combination of some lists, as dicts; the first name varies slowest.

    Inside a flow the lists may be parameters or outputs; the grid is then made when the flow runs.

    Args:
        lists: A list for each name.
    """
    tracer = current()
    if tracer is None or not any(isinstance(v, Handle) for v in lists.values()):
        columns = [list(values) for values in lists.values()]
        return [dict(zip(lists, combination, strict=True)) for combination in itertools.product(*columns)]
    scope = tracer.level.scope
    bound = tuple((n, bind(_listed(v), Site(tracer, f"grid(...), list {n!r}", n, scope))) for n, v in lists.items())
    made = Value(tracer, scope, "the grid", list[dict[str, Any]], GridOf(items=bound))
    return cast("list[dict[str, Any]]", Handle(made))


def _listed(values: Any) -> Any:
    return values if isinstance(values, Handle) else list(values)


def first(choice: T = _NOTHING, *others: T) -> T:
    """Take the first of several values that was not skipped.

    Args:
        choice: An output (or constant) to take if it exists.
        others: What to take else, in this order.

    Raises:
        FlowError: It is called outside of a flow, or without any value.
    """
    tracer = _inside("first(...)")
    if choice is _NOTHING:
        raise FlowError("first() takes the first that exists of some values, and none was given. Give them in order: first(a, b).")
    scope = tracer.level.scope
    choices = tuple(wrap(c, tracer, scope, f"the constant {c!r}" if not isinstance(c, Handle) else "") for c in (choice, *others))
    for deferred in choices:
        if isinstance(deferred, Comparison):
            deferred.binding()
    known = [c.annotation if isinstance(v, Handle) else type(v) for c, v in zip(choices, (choice, *others), strict=True)]
    inner = max((c.scope for c in choices), key=len)
    label = f"first({', '.join(c.label for c in choices)})"
    return cast("T", Handle(Choice(tracer, inner, label, a.union_of(known), choices)))


def when(condition: bool | int) -> Block:  # noqa: FBT001  (int: to type checkers, ~ of a bool is an int)
    """Run the steps called in the `with` block only if a condition holds.

    Args:
        condition: A bool output or parameter; a comparison of outputs and parameters; several of these with ``&``, ``|`` and ``~``.

    Raises:
        FlowError: It is called outside of a flow.
    """
    tracer = _inside("when(...)")
    site = Site(tracer, "when(...)", scope=tracer.level.scope)
    return Block(tracer, condition_of(condition, site), "when(...)")


def otherwise() -> Block:
    """Run the steps called in the `with` block only if the condition of the `when` before it does not hold.

    Raises:
        FlowError: It is called outside of a flow.
    """
    tracer = _inside("otherwise()")
    condition = tracer.last_when()
    if condition is None:
        tracer.problem(
            "otherwise() belongs to the `with when(...)` block before it at the same level, and there is none without its otherwise yet."
        )
        return Block(tracer, None, "otherwise()")
    return Block(tracer, Not(operand=condition), "otherwise()", closing=True)


class Block:
    """The `with` block of a `when` or an `otherwise`."""

    def __init__(self, tracer: Tracer, condition: Condition | None, shown: str, *, closing: bool = False) -> None:
        self._tracer = tracer
        self._condition = condition
        self._closing = closing
        self._stack = ExitStack()
        self._waiting = tracer.expect(f"{shown} does nothing by itself; write `with {shown}:` and the steps under it.")

    def __enter__(self) -> None:
        self._tracer.expected(self._waiting)
        guards = self._tracer.level.guards if self._condition is None else (*self._tracer.level.guards, self._condition)
        self._stack.enter_context(self._tracer.inside(guards=guards))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()
        self._tracer.remember_when(None if self._closing else self._condition)


def _inside(what: str) -> Tracer:
    tracer = current()
    if tracer is None:
        raise FlowError(
            f"{what} is for the body of a flow, and none is being built. Run the flow with .run(...); in plain Python, inside a step, use if and else."
        )
    return tracer


__all__ = ["Block", "each", "first", "grid", "otherwise", "when"]
