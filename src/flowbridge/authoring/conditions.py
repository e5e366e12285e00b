"""Conditions made of comparisons of outputs and parameters."""

from __future__ import annotations

from typing import Any, Literal

from flowbridge.authoring import annotations as a
from flowbridge.authoring.deferred import Broken, Comparison, Deferred
from flowbridge.authoring.handles import Handle, deferred_of
from flowbridge.authoring.tracing import Tracer
from flowbridge.authoring.values import Site, bind, in_scope
from flowbridge.ir.bindings import Constant
from flowbridge.ir.control import And, Compare, Condition, Not, Or, Truth

Operator = Literal["==", "!=", "<", "<=", ">", ">="]


def comparison(op: Operator, left: object, right: object) -> Handle:
    """Return the condition that two values compare so."""
    tracer, scope = _around(left, right)
    site = Site(tracer, f"the comparison {_shown(left)} {op} {_shown(right)}", scope=scope)
    condition = Compare(op=op, left=bind(left, site), right=bind(right, site))
    return _handle(tracer, scope, f"{_shown(left)} {op} {_shown(right)}", condition)


def combination(sign: Literal["&", "|"], left: object, right: object) -> Handle:
    """Return the condition that both, or either, hold."""
    tracer, scope = _around(left, right)
    label = f"({_shown(left)}) {sign} ({_shown(right)})"
    site = Site(tracer, f"the condition {label}", scope=scope)
    kind = And if sign == "&" else Or
    return _handle(tracer, scope, label, kind(left=condition_of(left, site), right=condition_of(right, site)))


def negation(operand: Handle) -> Handle:
    """Return the condition that another does not hold."""
    tracer, scope = _around(operand)
    label = f"~({_shown(operand)})"
    return _handle(tracer, scope, label, Not(operand=condition_of(operand, Site(tracer, f"the condition {label}", scope=scope))))


def _handle(tracer: Tracer, scope: tuple[str, ...], label: str, condition: Condition) -> Handle:
    return Handle(Comparison(tracer, scope, f"the comparison {label}", bool, condition))


def _around(*values: object) -> tuple[Tracer, tuple[str, ...]]:
    """Return the flow of some values, and the innermost maps that any of them is inside of."""
    found = [deferred_of(v) for v in values if isinstance(v, Handle)]
    return found[0].tracer, max((d.scope for d in found), key=len)


def _shown(value: object) -> str:
    if not isinstance(value, Handle):
        return repr(value)
    label = deferred_of(value).label
    return label.removeprefix("the comparison ")


def condition_of(value: Any, site: Site) -> Condition:
    """Return a value as a condition; problems are kept."""
    if isinstance(value, Handle):
        return _of_handle(deferred_of(value), site)
    if isinstance(value, bool):
        return Truth(value=Constant(value=value))
    site.problem(f"{value!r} is not a condition; use a bool output, a comparison (x > 0), or several with &, | and ~.")
    return Truth(value=Constant(value=False))


def _of_handle(deferred: Deferred, site: Site) -> Condition:
    if isinstance(deferred, Comparison) and deferred.condition is not None:
        if not in_scope(deferred.scope, site.scope):
            site.problem(f"{deferred.label} is about values from inside the map {deferred.scope[-1]!r} and cannot be used outside of it.")
        return deferred.condition
    known = a.class_of(deferred.annotation)
    if not isinstance(deferred, Broken) and known is not None and not _may_be_truth(known):
        site.problem(f"{deferred.label} is a {a.show(deferred.annotation)}, not a bool. Compare it: when(x > 0), when(x != '').")
    return Truth(value=bind(Handle(deferred), site))


def _may_be_truth(cls: type) -> bool:
    return cls is bool or cls is object or cls.__module__.partition(".")[0] == "numpy"
