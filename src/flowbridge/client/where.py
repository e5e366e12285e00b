"""Conditions and orders over listings, as text: parsed with Python's own grammar, a small part of it, and never executed."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from flowbridge.errors import UsageError, suggest

FIELDS = ("id", "flow", "status", "backend", "profile", "created", "finished", "duration", "params", "metrics", "tags", "user", "commit")
"""The fields of a listed run."""

_GROUPS = ("params", "metrics")
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: lambda a, b: a is b,
    ast.IsNot: lambda a, b: a is not b,
}

Row = Mapping[str, Any]
T = TypeVar("T")


class WhereError(UsageError, ValueError):
    """A condition or an order over runs is not one."""


@dataclass(frozen=True)
class Where:
    """A condition over a listed run.

    Attributes:
        text: As it was written.
        tree: What was parsed.
    """

    text: str
    tree: ast.expr

    @classmethod
    def parse(cls, text: str) -> Where:
        """Parse a condition.

        Raises:
            WhereError: It is not one; says what is not understood.
        """
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            where = f" (near column {error.offset})" if isinstance(error, SyntaxError) and error.offset else ""
            raise WhereError(f"{text!r} is not a condition{where}; write it like: params.lr < 0.1 and status == 'done'") from None
        _check(tree, text)
        return cls(text, tree)

    def holds(self, row: Row) -> bool:
        """Tell whether it holds. A field that a run lacks is None; what cannot be compared does not hold."""
        return bool(_value(self.tree, row))


def ordered(items: Sequence[T], order: str, row_of: Callable[[T], Row]) -> list[T]:
    """Return items by a field, least first; with ``-`` in front greatest first. Those that lack it, or hold something odd, come last.

    Raises:
        WhereError: There is no such field.
    """
    down, text = order.startswith("-"), order.removeprefix("-").strip()
    tree = Where.parse(text).tree
    if not isinstance(tree, (ast.Name, ast.Attribute, ast.Subscript)):
        raise WhereError(f"{order!r} is not a field to order by; write it like: metrics.auc, or -created for the newest first")
    found = [(_value(tree, row_of(item)), item) for item in items]
    numbers = [(v, i) for v, i in found if isinstance(v, (int, float)) and v == v]  # noqa: PLR0124  (not a NaN)
    texts = [(v, i) for v, i in found if isinstance(v, str)]
    rest = [i for v, i in found if not isinstance(v, str) and not (isinstance(v, (int, float)) and v == v)]  # noqa: PLR0124
    placed = [i for group in (numbers, texts) for _, i in sorted(group, key=lambda pair: pair[0], reverse=down)]
    return [*placed, *rest]


def _check(node: ast.expr, text: str) -> None:
    """Refuse everything but fields, literals, comparisons, and, or, not."""
    if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
        _check_field(node, text)
    elif isinstance(node, ast.BoolOp):
        for part in node.values:
            _check(part, text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        _check(node.operand, text)
    elif isinstance(node, ast.Compare):
        for part in (node.left, *node.comparators):
            _check(part, text)
    elif isinstance(node, (ast.List, ast.Tuple)):
        for part in node.elts:
            _check(part, text)
    elif not isinstance(node, ast.Constant):
        raise WhereError(f"{ast.unparse(node)!r} in {text!r} is not understood; use fields, literals, comparisons, in, and, or, not")


def _check_field(node: ast.expr, text: str) -> None:
    path = _path(node)
    if path is None:
        raise WhereError(f"{ast.unparse(node)!r} in {text!r} is not a field; write it like params.lr or params['learning-rate']")
    if path[0] not in FIELDS:
        raise WhereError(f"There is no field {path[0]!r}. Fields: {', '.join(FIELDS)}.{suggest(path[0], FIELDS)}")
    if len(path) > 1 and path[0] not in _GROUPS:
        raise WhereError(f"Field {path[0]!r} has nothing inside; only params and metrics do: params.lr, metrics.auc")


def _path(node: ast.expr) -> tuple[Any, ...] | None:
    """Return ``("params", "lr")`` for ``params.lr`` or ``params["lr"]``."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        inside, last = _path(node.value), node.attr
        return (*inside, last) if inside is not None else None
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        inside = _path(node.value)
        return (*inside, node.slice.value) if inside is not None else None
    return None


def _value(node: ast.expr, row: Row) -> Any:  # noqa: PLR0911  (one for each kind of expression)
    path = _path(node)
    if path is not None:
        return _look_up(path, row)
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(part, row) for part in node.elts]
    if isinstance(node, ast.BoolOp):
        parts = (_value(part, row) for part in node.values)
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if isinstance(node, ast.UnaryOp):
        inside = _value(node.operand, row)
        if isinstance(node.op, ast.Not):
            return not inside
        return -inside if isinstance(inside, (int, float)) else None
    return isinstance(node, ast.Compare) and _compare(node, row)


def _look_up(path: tuple[Any, ...], row: Row) -> Any:
    """Return a field, or something inside it; a name with dots in it is found too (``metrics.val.loss``)."""
    value: Any = row.get(path[0])
    rest = path[1:]
    while rest:
        whole = ".".join(map(str, rest))
        if isinstance(value, Mapping) and whole in value:
            return value[whole]
        try:
            value = value[rest[0]]
        except (KeyError, IndexError, TypeError):
            return None
        rest = rest[1:]
    return value


def _compare(node: ast.Compare, row: Row) -> bool:
    left = _value(node.left, row)
    for op, part in zip(node.ops, node.comparators, strict=True):
        right = _value(part, row)
        try:
            if not _COMPARISONS[type(op)](left, right):
                return False
        except TypeError:  # a run that lacks the field, or holds a text where a number is asked for
            return False
        left = right
    return True
