"""What a call inside a flow does: it adds a step, a map or an inlined flow, and returns handles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flowbridge.authoring import annotations as a
from flowbridge.authoring.compatibility import mismatch
from flowbridge.authoring.deferred import Deferred, Nothing, Value, Whole
from flowbridge.authoring.handles import Handle, deferred_of
from flowbridge.authoring.items import Origin
from flowbridge.authoring.signature import Argument
from flowbridge.authoring.values import MapContext, Site, bind, captured_handles, fields_in, in_scope, type_of
from flowbridge.ir.bindings import Binding, FromStep
from flowbridge.ir.control import MapNode
from flowbridge.ir.flow import CodeRef, ContainerSpec, StepNode
from flowbridge.ir.ports import Port

if TYPE_CHECKING:
    from flowbridge.authoring.options import StepOptions
    from flowbridge.authoring.signature import Signature
    from flowbridge.authoring.tracing import Level, Tracer


@dataclass(frozen=True)
class Work:
    """What a step is, as calls need it.

    Attributes:
        name: The step's name.
        key: What makes it the same step in two calls.
        shown: How to call it in messages about two of one name.
        signature: What it takes and returns.
        options: Its options, those of this call included.
        function: The function, for steps in Python.
        container: The program, for container steps.
        doc: First line of its docstring.
    """

    name: str
    key: object
    shown: str
    signature: Signature
    options: StepOptions
    function: Callable[..., Any] | None = None
    container: ContainerSpec | None = None
    doc: str = ""


def call(work: Work, tracer: Tracer, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Handle:
    """Add one call of a step to the flow and return the handle of its output."""
    step_id = tracer.claim(work.name, work.key, work.shown)
    level = tracer.level
    look_at_map_options(work.options, tracer, f"step {step_id!r}")
    inputs = bind_all(work.signature, args, kwargs, Site(tracer, f"step {step_id!r}", scope=level.scope))
    after = (*level.after, *waits(work.options.after, Site(tracer, f"step {step_id!r}", scope=level.scope)))
    add(work, tracer, step_id, inputs, replace(level, after=after))
    return Handle(output(work, tracer, step_id, level.scope))


def call_each(work: Work, tracer: Tracer, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Handle:
    """Add a map over a step to the flow and return the handle of the list of its outputs."""
    step_id = tracer.claim(work.name, work.key, work.shown)
    context = MapContext(f"{step_id}-map", tracer.level)
    inputs = bind_all(work.signature, args, kwargs, Site(tracer, f"step {step_id!r}", scope=context.scope, context=context))
    add_map(context, tracer, work.options, f"step {step_id!r}")
    add(work, tracer, step_id, inputs, replace(context.outer, scope=context.scope, guards=(), after=()))
    return Handle(listed(work, tracer, step_id, context.outer))


def add(work: Work, tracer: Tracer, step_id: str, inputs: tuple[tuple[str, Binding], ...], level: Level) -> None:
    """Add a step to the flow."""
    options, outputs = work.options, work.signature.outputs
    captured = captured_handles(work.function)
    if captured:
        tracer.problem(
            f"step {step_id!r} uses {captured[0]!r} of the flow around it, which is not there yet. Give it to the step as an argument."
        )
    if work.function is not None:
        tracer.functions[step_id] = work.function
    tracer.steps.append(
        StepNode(
            id=step_id,
            name=work.name,
            code=None if work.function is None else code_of(work.function, work.name),
            container=work.container,
            doc=work.doc,
            inputs=inputs,
            outputs=tuple(Port(name=name, type=a.show(kind)) for name, kind in outputs.types),
            output_kind=outputs.kind,
            scope=level.scope,
            guards=level.guards,
            after=tuple(dict.fromkeys(level.after)),
            group=level.group,
            resources=options.resources,
            retry=options.retry,
            timeout=options.timeout,
            allow_failure=options.allow_failure,
            cache=options.cache,
            environment=options.environment,
            nodes=options.nodes,
            target=options.target,
            tags=options.tags,
            platform=options.platform,
        )
    )


def code_of(function: Callable[..., Any], name: str) -> CodeRef:
    """Return where a function is found, as far as it can be told without looking at files."""
    module = getattr(function, "__module__", None) or "__main__"
    qualname = getattr(function, "__qualname__", name)
    return CodeRef(
        module=module, qualname=qualname, by_value=module == "__main__" or "<" in qualname or not hasattr(function, "__qualname__")
    )


def bind_all(signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any], site: Site) -> tuple[tuple[str, Binding], ...]:
    """Return the inputs of a step; problems are kept."""
    arguments, problems = signature.bind(args, kwargs)
    for problem in problems:
        site.tracer.problem(f"{site.where}: {problem}")
    return tuple((argument.name, bind_one(argument, site)) for argument in arguments)


def bind_one(argument: Argument, site: Site) -> Binding:
    """Return one input of a step; problems are kept."""
    place = replace(site, where=f"{site.where}, argument {argument.shown!r}", argument=argument.name.replace("*", "args_"))
    check(argument.value, argument.annotation, place)
    return bind(argument.value, place)


def check(value: Any, wanted: Any, site: Site) -> None:
    """Keep the problem of a value that certainly has the wrong type."""
    wrong = mismatch(type_of(value), wanted)
    if wrong is not None:
        label = f" ({deferred_of(value).label})" if isinstance(value, Handle) else ""
        site.problem(f"expected {a.show(wanted)}, got {a.show(wrong)}{label}. Pass a value of that type, or change the annotation.")
    parts = fields_in(value)
    types = a.fields_of(type(value)) if any(isinstance(part, Handle) for part in parts.values()) else None
    for name, kind in (types or {}).items():
        check(parts[name], kind, replace(site, where=f"{site.where}, {name!r}"))


def waits(after: Sequence[Any], site: Site) -> tuple[str, ...]:
    """Return the ids of the steps that a call waits for; problems are kept. Ids given as text are looked at when the flow is whole."""
    found: list[str] = []
    for thing in after:
        if isinstance(thing, str):
            found.append(thing)
        elif not isinstance(thing, Handle):
            site.problem(f"after=[...] takes outputs of steps (or their ids as text), not {thing!r}.")
        elif deferred_of(thing).tracer is not site.tracer or not in_scope(deferred_of(thing).scope, site.scope):
            bind(thing, replace(site, where=f"{site.where}, after"))
        else:
            steps = deferred_of(thing).waits_for()
            found.extend(steps)
            if not steps:
                site.problem(f"after=[...] takes outputs of steps, and {deferred_of(thing).label} is none: there is nothing to wait for.")
    return tuple(found)


def look_at_map_options(options: StepOptions, tracer: Tracer, where: str) -> None:
    """Keep the problem of options that only a map has."""
    for name in ("parallel", "batch"):
        if getattr(options, name) is not None:
            tracer.problem(f"{where}: {name}= is for maps; call .map(...) with it, or leave it out.")


def add_map(context: MapContext, tracer: Tracer, options: StepOptions, where: str) -> None:
    """Add a map to the flow."""
    site = Site(tracer, where, scope=context.outer.scope)
    sources = tuple((name, _source(name, origin, site)) for name, origin in context.fields.items())
    tracer.maps.append(
        MapNode(
            id=context.id,
            scope=context.outer.scope,
            sources=sources,
            guards=context.outer.guards,
            parallel=options.parallel,
            batch=options.batch,
            group=context.outer.group,
            after=tuple(dict.fromkeys((*context.outer.after, *waits(options.after, site)))),
        )
    )


def _source(name: str, origin: Origin, site: Site) -> Binding:
    place = replace(site, where=f"{site.where}, each(...) of {name!r}", argument=name)
    if isinstance(origin.values, Handle):
        kind = deferred_of(origin.values).annotation
        if a.certainly_no_list(kind):
            place.problem(f"expected a list, got {a.show(kind)} ({deferred_of(origin.values).label}). each(...) goes through lists.")
    return bind(origin.values, place)


def output(work: Work, tracer: Tracer, step_id: str, scope: tuple[str, ...]) -> Deferred:
    """Return what one call of a step gives."""
    outputs = work.signature.outputs
    label = f"output of step {step_id!r}"
    if outputs.kind == "none":
        return Nothing(tracer, scope, f"step {step_id!r}", type(None), (step_id,))
    if outputs.kind == "single":
        name, kind = outputs.types[0]
        return Value(tracer, scope, label, kind, FromStep(step=step_id, output=name))
    return Whole(
        tracer,
        scope,
        label,
        outputs.annotation,
        step=step_id,
        outputs=outputs.types,
        named=outputs.kind == "fields",
        ordered=a.tuple_items(outputs.annotation) is not None,
        joinable=work.container is None,
    )


def listed(work: Work, tracer: Tracer, step_id: str, outer: Level) -> Deferred:
    """Return what a mapped step gives: the list of its outputs."""
    inner = output(work, tracer, step_id, outer.scope)
    if isinstance(inner, Nothing):
        return inner
    return Value(tracer, outer.scope, f"list of outputs of step {step_id!r}", a.list_of(inner.annotation), inner.binding(), listed=True)
