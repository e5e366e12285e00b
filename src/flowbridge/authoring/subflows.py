"""Flows inside flows: inlined as a named group, or mapped with one sub-flow per item."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flowbridge.authoring import annotations as a
from flowbridge.authoring.calls import add_map, check, look_at_map_options, waits
from flowbridge.authoring.deferred import Broken, Deferred, Nothing, Value, Whole
from flowbridge.authoring.handles import Handle, deferred_of
from flowbridge.authoring.items import Each
from flowbridge.authoring.signature import Argument
from flowbridge.authoring.source import silent_tests
from flowbridge.authoring.values import Known, MapContext, Site, bind, fields_in, parts_of, type_of
from flowbridge.ir.bindings import Binding, Collected, FromStep

if TYPE_CHECKING:
    from flowbridge.authoring.options import StepOptions
    from flowbridge.authoring.signature import Signature
    from flowbridge.authoring.tracing import Tracer


@dataclass(frozen=True)
class Body:
    """What a flow is, as calls inside another flow need it.

    Attributes:
        name: The flow's name.
        key: What makes it the same flow in two calls.
        shown: How to call it in messages about two of one name.
        signature: What it takes and returns.
        function: Its body.
        options: `after`, `parallel` and `batch` of this call.
    """

    name: str
    key: object
    shown: str
    signature: Signature
    function: Callable[..., Any]
    options: StepOptions


def inline(body: Body, tracer: Tracer, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Add the steps of a flow to the flow around it and return what it returns."""
    group_id = tracer.claim(body.name, body.key, body.shown)
    where = f"flow {group_id!r}"
    look_at_map_options(body.options, tracer, where)
    site = Site(tracer, where, scope=tracer.level.scope)
    values = arguments(body.signature, args, kwargs, site)
    after = (*tracer.level.after, *waits(body.options.after, site))
    group = (*tracer.level.group, group_id.rpartition(".")[2])
    start = len(tracer.steps)
    with tracer.opened(body.key, body.name), tracer.inside(group=group, after=after):
        returned = run_body(body, tracer, values)
    if returned is None:
        return Handle(Nothing(tracer, tracer.level.scope, where, type(None), tuple(s.id for s in tracer.steps[start:])))
    return returned


def inline_each(body: Body, tracer: Tracer, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Handle:
    """Add a map over a flow, whose body is traced once, and return the handle of the list of what it returns."""
    group_id = tracer.claim(body.name, body.key, body.shown)
    where = f"flow {group_id!r}"
    context = MapContext(f"{group_id}-map", tracer.level)
    values = arguments(body.signature, args, kwargs, Site(tracer, where, scope=context.scope, context=context))
    add_map(context, tracer, body.options, where)
    group = (*context.outer.group, group_id.rpartition(".")[2])
    start = len(tracer.steps)
    with tracer.opened(body.key, body.name), tracer.inside(group=group, scope=context.scope, guards=(), after=()):
        returned = run_body(body, tracer, values)
        if returned is None:
            return Handle(Nothing(tracer, context.outer.scope, where, type(None), tuple(s.id for s in tracer.steps[start:])))
        source = collected(returned, Site(tracer, f"what {where} returns", scope=context.scope), context)
    kind = type_of(returned)
    annotation = a.list_of(body.signature.returns if kind is a.UNKNOWN else kind)
    return Handle(Value(tracer, context.outer.scope, f"list of outputs of {where}", annotation, source, listed=True))


def collected(returned: Any, site: Site, context: MapContext) -> Binding:
    """Return the list of what the body of a mapped flow returns.

    A plain output of a step inside the map is collected as such; anything else needs to be put together item by item.
    """
    source = bind(returned, site)
    plain = isinstance(returned, Handle) and isinstance(deferred_of(returned), (Value, Whole)) and isinstance(source, FromStep)
    if plain and isinstance(source, FromStep) and not source.then and _made_inside(source.step, site, context):
        return source
    return Collected(map=context.id, value=source)


def _made_inside(step_id: str, site: Site, context: MapContext) -> bool:
    node = next(s for s in reversed(site.tracer.steps) if s.id == step_id)
    return node.scope[: len(context.scope)] == context.scope


def run_body(body: Body, tracer: Tracer, values: dict[str, Any]) -> Any:
    """Call the body of a flow with its arguments by name, those that must be given by position included."""
    for test, line in silent_tests(body.function, values):
        text = (
            f"flow {body.name!r}: `{test}` is not about the value, which is not there while the flow is built. "
            f"Compare it with when(x == None), or test it in a step. (line {line})"
        )
        if text not in tracer.problems:
            tracer.problems.append(text)
    given = dict(values)
    positional = [given.pop(p.name) for p in body.signature.parameters.values() if p.kind is p.POSITIONAL_ONLY and p.name in given]
    return body.function(*positional, **given)


def arguments(signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any], site: Site) -> dict[str, Any]:
    """Return a handle for each parameter of a flow, defaults included; problems are kept."""
    found, problems = signature.bind(args, kwargs)
    for problem in problems:
        site.problem(problem)
    values = {argument.name: _handle(argument, site) for argument in found if not argument.name.startswith("*")}
    for name, parameter in signature.parameters.items():
        if name not in values and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            label = f"argument {name!r} of {site.where}"
            missing = parameter.default is parameter.empty
            wanted = signature.wants(name)
            values[name] = Handle(_broken(site, label) if missing else Known(site.tracer, (), label, wanted, parameter.default))
    return values


def _broken(site: Site, label: str) -> Deferred:
    return Broken(site.tracer, (), label)


def _handle(argument: Argument, site: Site) -> Handle:
    label = f"argument {argument.shown!r} of {site.where}"
    place = replace(site, where=f"{site.where}, argument {argument.shown!r}", argument=argument.name)
    check(argument.value, argument.annotation, place)
    if isinstance(argument.value, Handle):
        bind(argument.value, place)
        return argument.value
    if isinstance(argument.value, Each):
        return _item(argument.value, place, argument.annotation)
    value = _with_items(argument.value, place)
    return Handle(Known(site.tracer, _scope_of(value), label, argument.annotation, value))


def _item(each: Each, site: Site, wanted: Any) -> Handle:
    source = bind(each, site)
    kind = type_of(each)
    inner = site.context.scope if site.context is not None else site.scope
    if site.context is None:
        return Handle(Broken(site.tracer, (), site.where))
    return Handle(
        Value(
            site.tracer, inner, f"each {site.argument!r} of {site.where.partition(',')[0]}", wanted if kind is a.UNKNOWN else kind, source
        )
    )


def _with_items(value: Any, site: Site) -> Any:
    """Return lists, tuples and dicts with handles of single items in place of each `each(...)` in them."""
    if isinstance(value, Each):
        return _item(value, site, a.UNKNOWN)
    if type(value) in (list, tuple):
        return type(value)(_with_items(part, site) for part in value)
    if type(value) is dict:
        return {key: _with_items(part, site) for key, part in value.items()}
    fields = fields_in(value)
    if any(isinstance(part, Each) for part in parts_of(value)):
        return type(value)(**{name: _with_items(part, site) for name, part in fields.items()})
    return value


def _scope_of(value: Any) -> tuple[str, ...]:
    """Return the innermost maps that any output inside a value is inside of."""
    return max((deferred_of(p).scope for p in parts_of(value) if isinstance(p, Handle)), key=len, default=())
