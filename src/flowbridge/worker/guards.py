"""Conditions around a task: looked at by the task itself, so that every scheduler means the same by them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowbridge.errors import FlowbridgeError
from flowbridge.ir import bindings as b
from flowbridge.ir.control import And, Compare, Condition, Not, Or, Truth

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Load = Callable[[b.Binding], Any]


class ConditionError(FlowbridgeError, TypeError):
    """A condition cannot be told true or false: its values cannot be compared, or are not a single truth."""


def first_false(guards: Sequence[Condition], load: Load) -> Condition | None:
    """Return the first condition that does not hold; None if all hold.

    Args:
        guards: The conditions.
        load: Returns the value of a binding.

    Raises:
        ConditionError: A condition cannot be told.
    """
    return next((guard for guard in guards if not holds(guard, load)), None)


def holds(condition: Condition, load: Load) -> bool:
    """Return whether a condition holds.

    Raises:
        ConditionError: It cannot be told.
    """
    if isinstance(condition, And):
        return holds(condition.left, load) and holds(condition.right, load)
    if isinstance(condition, Or):
        return holds(condition.left, load) or holds(condition.right, load)
    if isinstance(condition, Not):
        return not holds(condition.operand, load)
    if isinstance(condition, Truth):
        return _truth(load(condition.value), condition)
    left, right = load(condition.left), load(condition.right)
    try:
        outcome = _OPERATORS[condition.op](left, right)
    except Exception as error:
        types = f"{type(left).__name__} and {type(right).__name__}"
        raise ConditionError(
            f"the condition {describe(condition)} cannot be told: comparing {types} raised {type(error).__name__}: {error}"
        ) from error
    return _truth(outcome, condition)


def _truth(value: Any, condition: Condition) -> bool:
    try:
        return bool(value)
    except Exception as error:
        raise ConditionError(
            f"the condition {describe(condition)} cannot be told: "
            f"a value of type {type(value).__name__} is neither true nor false ({error}); return a plain bool or number from the step"
        ) from error


def describe(condition: Condition) -> str:
    """Return a condition as a user would have written it."""
    if isinstance(condition, Truth):
        return describe_binding(condition.value)
    if isinstance(condition, Compare):
        return f"{describe_binding(condition.left)} {condition.op} {describe_binding(condition.right)}"
    if isinstance(condition, Not):
        return f"~({describe(condition.operand)})"
    sign = "&" if isinstance(condition, And) else "|"
    return f"({describe(condition.left)}) {sign} ({describe(condition.right)})"


def describe_binding(binding: b.Binding) -> str:
    """Return a binding as a user would have written it."""
    if isinstance(binding, b.Constant):
        return repr(binding.value) if binding.pickled is None else binding.shown or "a constant"
    if isinstance(binding, b.FromStep):
        name = binding.step if binding.output == "result" else f"{binding.step}.{binding.output}"
        return name + _path(binding.path) + _path(binding.then)
    if isinstance(binding, b.ListOf):
        return f"[{', '.join(map(describe_binding, binding.items))}]"
    if isinstance(binding, b.DictOf):
        return "{" + ", ".join(f"{k!r}: {describe_binding(v)}" for k, v in binding.items) + "}"
    return _describe_chosen(binding) + _path(binding.path)


def _describe_chosen(binding: b.FromParameter | b.FromItem | b.FirstOf | b.GridOf | b.Collected) -> str:
    if isinstance(binding, b.FromParameter):
        return binding.name
    if isinstance(binding, b.FromItem):
        return f"each {binding.field}"
    if isinstance(binding, b.FirstOf):
        return f"first({', '.join(map(describe_binding, binding.choices))})"
    if isinstance(binding, b.GridOf):
        return f"grid({', '.join(f'{k}={describe_binding(v)}' for k, v in binding.items)})"
    return f"the list of {describe_binding(binding.value)}"


def _path(path: b.Path) -> str:
    return "".join(f".{p.key}" if p.kind == "attr" else f"[{p.key!r}]" for p in path)
