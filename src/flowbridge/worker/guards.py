"""Conditions around a task: looked at by the task itself, so that every scheduler means the same by them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowbridge.errors import FlowbridgeError
from flowbridge.ir.bindings import Binding
from flowbridge.ir.control import And, Condition, Not, Or, Truth
from flowbridge.ir.describe import describe

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

Load = Callable[[Binding], Any]


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
