"""Bindings and conditions as a user would have written them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.ir import bindings as b
from flowbridge.ir.control import And, Compare, Not, Or, Truth
from flowbridge.ir.ports import SINGLE

if TYPE_CHECKING:
    from flowbridge.ir.control import Condition

_SHOWN = 40


def describe(condition: Condition) -> str:
    """Return a condition as a user would have written it."""
    if isinstance(condition, Truth):
        return describe_binding(condition.value)
    if isinstance(condition, Compare):
        return f"{describe_binding(condition.left)} {condition.op} {describe_binding(condition.right)}"
    if isinstance(condition, Not):
        return f"~({describe(condition.operand)})"
    sign = "&" if isinstance(condition, And) else "|"
    assert isinstance(condition, And | Or)
    return f"({describe(condition.left)}) {sign} ({describe(condition.right)})"


def describe_binding(binding: b.Binding) -> str:
    """Return a binding as a user would have written it, cut where it is long."""
    text = _described(binding)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _described(binding: b.Binding) -> str:
    if isinstance(binding, b.Constant):
        return (binding.shown or "?") if binding.pickled is not None else repr(binding.value)
    if isinstance(binding, b.FromStep):
        name = binding.step if binding.output in (SINGLE, "*") else f"{binding.step}.{binding.output}"
        return name + _path(binding.path) + _path(binding.then)
    if isinstance(binding, b.ListOf):
        inside = ", ".join(map(describe_binding, binding.items))
        return f"({inside})" if binding.tuple_ else f"[{inside}]"
    if isinstance(binding, b.DictOf):
        return "{" + ", ".join(f"{key!r}: {describe_binding(item)}" for key, item in binding.items) + "}"
    if isinstance(binding, b.RecordOf):
        return f"{binding.make.shown}({', '.join(f'{name}={describe_binding(item)}' for name, item in binding.items)})"
    return _named(binding) + _path(binding.path)


def _named(binding: b.FromParameter | b.FromItem | b.FirstOf | b.GridOf | b.Collected) -> str:
    if isinstance(binding, b.FromParameter):
        return binding.name
    if isinstance(binding, b.FromItem):
        return f"each {binding.field}"
    if isinstance(binding, b.FirstOf):
        return f"first({', '.join(map(describe_binding, binding.choices))})"
    if isinstance(binding, b.GridOf):
        return f"grid({', '.join(f'{name}={describe_binding(item)}' for name, item in binding.items)})"
    return binding.map.removesuffix("-map")


def _path(path: b.Path) -> str:
    return "".join(f".{p.key}" if p.kind == "attr" else f"[{p.key!r}]" for p in path)
