"""A flow that has been built: its graph, the functions of its steps, and what its parameters take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowbridge.authoring import annotations as a
from flowbridge.authoring import parameters
from flowbridge.authoring.calls import check
from flowbridge.authoring.deferred import Nothing, Value
from flowbridge.authoring.handles import Handle, deferred_of
from flowbridge.authoring.signature import Signature
from flowbridge.authoring.subflows import Body, run_body
from flowbridge.authoring.tracing import Tracer, tracing
from flowbridge.authoring.values import Site, bind
from flowbridge.errors import FlowError
from flowbridge.ir import validation
from flowbridge.ir.bindings import Binding, FromParameter
from flowbridge.ir.flow import FlowGraph, Schedule
from flowbridge.ir.graph import order
from flowbridge.ir.ports import SINGLE, OutputKind


@dataclass(frozen=True)
class TracedFlow:
    """A flow as data, and what of it is not data.

    Attributes:
        graph: The flow.
        functions: The functions of its steps in Python, by step id.
        signature: What the flow takes and returns.
        result_class: Class of the return value, where it is made of fields.
    """

    graph: FlowGraph
    functions: Mapping[str, Callable[..., Any]]
    signature: Signature
    result_class: type | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The annotation of each parameter."""
        return {name: self.signature.wants(name) for name in self.signature.parameters}

    @property
    def defaults(self) -> dict[str, Any]:
        """The default of each parameter that has one."""
        return {name: p.default for name, p in self.signature.parameters.items() if p.default is not p.empty}

    def coerce(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of every parameter, checked and coerced, defaults included.

        Raises:
            ParameterError: Arguments are missing, unknown or of the wrong type; lists all of them.
        """
        return parameters.coerce(self.graph.name, self.signature, args, kwargs)

    def coerce_text(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """Return the value of every parameter from texts, as a command line gives them.

        Raises:
            ParameterError: Arguments are missing, unknown or of the wrong type; lists all of them.
        """
        return parameters.coerce_text(self.graph.name, self.signature, texts)

    def coerce_some_text(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """Return the value of the parameters that are given as texts; others may be missing.

        Raises:
            ParameterError: Arguments are of the wrong type; lists all of them.
        """
        return parameters.coerce_some_text(self.graph.name, self.signature, texts)


@dataclass(frozen=True)
class Description:
    """What a flow is besides its body."""

    doc: str = ""
    tags: tuple[str, ...] = ()
    schedule: Schedule | None = None
    platform: tuple[tuple[str, Any], ...] = ()


def trace(body: Body, description: Description) -> TracedFlow:
    """Build a flow by calling its body with handles of its parameters. No step runs.

    Raises:
        FlowError: Something is wrong with it; lists every problem.
    """
    tracer = Tracer(body.name)
    with tracing(tracer):
        result, result_class = _walk(body, tracer)
        tracer.problems.extend(tracer.unmet())
        graph = FlowGraph(
            name=body.name,
            doc=description.doc,
            parameters=parameters.describe(body.signature),
            steps=tuple(tracer.steps),
            maps=tuple(tracer.maps),
            result=result[1],
            result_kind=result[0],
            result_type=None if result_class is None else f"{result_class.__module__}:{result_class.__qualname__}",
            tags=description.tags,
            schedule=description.schedule,
            platform=description.platform,
        )
    tracer.problems.extend(validation.problems(graph))
    if tracer.problems:
        raise tracer.error()
    return TracedFlow(_in_order(graph), dict(tracer.functions), body.signature, result_class)


Result = tuple[OutputKind, tuple[tuple[str, Binding], ...]]


def _walk(body: Body, tracer: Tracer) -> tuple[Result, type | None]:
    values = {name: Handle(_parameter(tracer, name, body.signature.wants(name))) for name in body.signature.parameters}
    try:
        with tracer.opened(body.key, body.name):
            returned = run_body(body, tracer, values)
        return _result(returned, body.signature, tracer)
    except FlowError as error:
        tracer.problems.extend(p for p in error.problems if p not in tracer.problems)
    except Exception:
        if not tracer.problems:
            raise  # the user's own error; else it comes of what was found before, and is left out of the list
    return ("none", ()), None


def _parameter(tracer: Tracer, name: str, annotation: Any) -> Value:
    return Value(tracer, (), f"parameter {name!r}", annotation, FromParameter(name=name))


def _result(returned: Any, signature: Signature, tracer: Tracer) -> tuple[Result, type | None]:
    """Return what a flow returns, taken apart, and the class that it makes up."""
    site = Site(tracer, "what the flow returns")
    wanted = signature.returns
    if returned is None or (isinstance(returned, Handle) and isinstance(deferred_of(returned), Nothing)):
        if wanted not in (None, type(None), a.UNKNOWN):
            site.problem(f"expected {a.show(wanted)}, got nothing. Return it, or annotate the flow with -> None.")
        return ("none", ()), None
    fields = None if isinstance(returned, Handle) else a.fields_of(type(returned))
    if fields is not None:
        return _fields({name: getattr(returned, name) for name in fields}, fields, site), type(returned)
    if type(returned) is tuple and returned:
        kinds = a.tuple_items(wanted) or ()
        names = [f"output_{i}" for i in range(len(returned))]
        types = dict(zip(names, kinds if len(kinds) == len(names) else [a.UNKNOWN] * len(names), strict=True))
        parts = _fields(dict(zip(names, returned, strict=True)), types, site)
        return ("tuple", parts[1]), None
    check(returned, wanted, site)
    return ("single", ((SINGLE, bind(returned, site)),)), None


def _fields(values: Mapping[str, Any], types: Mapping[str, Any], site: Site) -> Result:
    bound = []
    for name, value in values.items():
        place = Site(site.tracer, f"{site.where}, {name!r}", name)
        check(value, types[name], place)
        bound.append((name, bind(value, place)))
    return "fields", tuple(bound)


def _in_order(graph: FlowGraph) -> FlowGraph:
    """Return the graph with every step after those it waits for, which ids in `after=` can upset."""
    place = {node_id: i for i, node_id in enumerate(order(graph))}
    steps = tuple(sorted(graph.steps, key=lambda s: place[s.id]))
    before: set[str] = set()
    for node in graph.steps:
        if any(needed in graph.steps_by_id and needed not in before for needed in node.after):
            return graph.model_copy(update={"steps": steps})
        before.add(node.id)
    return graph
