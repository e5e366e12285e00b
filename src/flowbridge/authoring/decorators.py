"""`@step` and `@flow`: what users put on their functions."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

from flowbridge.authoring import calls, flow_options, plain, subflows
from flowbridge.authoring import options as o
from flowbridge.authoring.annotations import names_in
from flowbridge.authoring.hooks import installed
from flowbridge.authoring.picture import Picture
from flowbridge.authoring.signature import Signature
from flowbridge.authoring.traced import Description, TracedFlow, trace
from flowbridge.authoring.tracing import current
from flowbridge.errors import FlowError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from flowbridge.client.run import Run

P = ParamSpec("P")
R = TypeVar("R")


class Step(Generic[P, R]):
    """A function that is one step of a flow. Outside of a flow it is the function."""

    __name__: str
    __qualname__: str

    def __init__(self, function: Callable[P, R], options: o.StepOptions, signature: Signature | None = None) -> None:
        self.function = function
        self._options = options
        self._signature = signature or Signature(function, {})
        functools.update_wrapper(self, function, updated=())

    @property
    def name(self) -> str:
        """The name that ids of its calls begin with."""
        return self._options.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Inside a flow add a step and return a handle of its output; outside of one, run the function."""
        tracer = current()
        if tracer is None:
            return self.function(*args, **kwargs)
        return cast("R", calls.call(self._work(), tracer, args, kwargs))

    @overload
    def map(self, *args: P.args, **kwargs: P.kwargs) -> list[R]: ...

    @overload
    def map(self, *args: Any, batch: int, **kwargs: Any) -> list[R]: ...

    def map(self, *args: Any, **kwargs: Any) -> list[R]:
        """Inside a flow add one task per item of what stands in `each(...)`; outside of one, run the function for each item.

        Everything that is not `each(...)` is given to all tasks. ``batch=100`` lets one process take 100 items, one after the other
        (type checkers look at the arguments only without it; ``.options(batch=100)`` says the same).

        Returns:
            The outputs in the order of the items.
        """
        tracer = current()
        work = self._work()
        if "batch" in kwargs and "batch" not in work.signature.parameters:
            options = work.options.change({"batch": kwargs.pop("batch")}, o.CALL_SETTINGS, f"step {self.name!r}")
            work = replace(work, options=options)
        if tracer is None:
            return cast("list[R]", plain.map_plainly(self.function, work.signature, args, kwargs))
        return cast("list[R]", calls.call_each(work, tracer, args, kwargs))

    def options(self, **settings: Unpack[o.CallSettings]) -> Step[P, R]:
        """Return the step with options changed: those of `@step`, and ``after=[x]`` (order without data), ``parallel=8``, ``batch=100`` (maps).

        Raises:
            ConfigError: An option is unknown or malformed.
        """
        changed = self._options.change(settings, o.CALL_SETTINGS, f"step {self.name!r}")
        return Step(self.function, changed, self._signature)

    def _work(self) -> calls.Work:
        return calls.Work(
            self.name,
            code_key(self.function),
            place_of(self.function),
            self._signature,
            self._options,
            self.function,
            doc=first_line(self.function),
        )

    def __repr__(self) -> str:
        return f"<step {self.name}{inspect.signature(self.function)}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return reduced(self, self._options)


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...


@overload
def step(**settings: Unpack[o.StepSettings]) -> Callable[[Callable[P, R]], Step[P, R]]: ...


def step(function: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Make a function a step of flows.

    Outputs come from the return annotation: one value, ``tuple[A, B]``, a NamedTuple or a dataclass; each field is an artifact of its own.

    Args:
        function: The function, where the decorator stands without brackets.
        settings: Options. ``cpu memory memory_max gpu gpu_type disk shm custom`` or ``resources=Resources(...)``; ``retries retry_delay backoff
            timeout allow_failure``; ``cache`` (True or a lifetime such as ``"7d"``); ``packages requirements python image env secrets`` or
            ``environment=Environment(...)``; ``nodes``; ``target``; ``name``; ``tags``; ``metaflow={...}``, ``kubeflow={...}``.

    Raises:
        ConfigError: An option is unknown or malformed.
        FlowError: The thing decorated cannot be a step.
    """
    names = _local_names(sys._getframe(1))  # noqa: SLF001  (classes of the function around it, which annotations may name)
    if function is not None:
        return _made_step(function, settings, names)
    return lambda decorated: _made_step(decorated, settings, names)


def _made_step(function: Callable[..., Any], settings: Mapping[str, Any], names: Mapping[str, Any]) -> Step[..., Any]:
    if isinstance(function, (Step, Flow)):
        raise FlowError(f"{function!r} is a {type(function).__name__.lower()} already; decorate it once.")
    refuse_odd_functions(function, "step")
    name = settings.get("name") or getattr(function, "__name__", None)
    where = f"step {name!r}"
    options = o.StepOptions(folder=_folder_of(function)).change({**settings, "name": name}, o.STEP_SETTINGS, where)
    wanted = names_in(function)
    return Step(function, options, Signature(function, {n: v for n, v in names.items() if n in wanted}))


class Flow(Generic[P, R]):
    """A function that builds a DAG of steps. `run` runs it; calling it inside another flow makes its steps part of that one."""

    __name__: str
    __qualname__: str

    def __init__(self, function: Callable[P, R], options: flow_options.FlowOptions, signature: Signature | None = None) -> None:
        self.function = function
        self._options = options
        self._signature = signature or Signature(function, {})
        functools.update_wrapper(self, function, updated=())

    @property
    def name(self) -> str:
        """The name of the flow."""
        return self._options.name

    @property
    def run_options(self) -> Mapping[str, Any]:
        """What `options(...)` has set for running: backend, profile, store and so on."""
        return dict(self._options.run)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Inside another flow, make the steps part of it.

        Raises:
            FlowError: No flow is being built; a body is not run as plain Python, where `when` could skip nothing.
        """
        tracer = current()
        if tracer is None:
            raise FlowError(
                f"it was called as a plain function, outside of a flow. Use {self.name}.run(...) to run it "
                f"({self.name}.options(backend='inline').run(...) stays in this process), or call it inside another flow.",
                self.name,
            )
        return cast("R", subflows.inline(self._body(), tracer, args, kwargs))

    def map(self, *args: P.args, **kwargs: P.kwargs) -> list[R]:
        """Inside another flow, add one sub-flow for each item of what stands in `each(...)`.

        Raises:
            FlowError: No flow is being built.
        """
        tracer = current()
        if tracer is None:
            raise FlowError("its .map(...) was called outside of a flow. Map it inside another flow, and run that one.", self.name)
        return cast("list[R]", subflows.inline_each(self._body(), tracer, args, kwargs))

    def options(self, **settings: Unpack[flow_options.RunSettings]) -> Flow[P, R]:
        """Return the flow with options changed, for running (``backend profile store tags wait on_failure max_parallel``) or for one call
        inside another flow (``name after parallel``).

        Raises:
            ConfigError: An option is unknown or malformed.
        """  # noqa: D205
        return Flow(self.function, self._options.change_run(settings), self._signature)

    def trace(self) -> TracedFlow:
        """Build the flow. No step runs.

        Raises:
            FlowError: Something is wrong with it; lists every problem.
        """
        options = self._options
        return trace(self._body(), Description(first_line(self.function), options.tags, options.schedule, options.platform))

    def graph(self) -> Picture:
        """Return the flow as something to look at: ``.graph`` (data), ``.mermaid()``, ``.svg()``; notebooks show the picture.

        Raises:
            FlowError: Something is wrong with it; lists every problem.
        """
        return Picture(self.trace().graph)

    def run(self, *args: P.args, **kwargs: P.kwargs) -> Run[R]:
        """Run the flow with arguments, where and how its options and the configuration say.

        Returns:
            The run, ended unless ``options(wait=False)``; look at its `status`, or take its `result()`.

        Raises:
            UsageError: The flow, its arguments or the configuration are wrong; nothing has run.
        """
        self._refuse_inside("run")
        return cast("Run[R]", installed().run(self, args, kwargs, self.run_options))

    def check(self, **settings: Unpack[flow_options.RunSettings]) -> Any:
        """Look for everything that stands in the way of running the flow on a backend. Nothing runs.

        Raises:
            UnsupportedError: The backend cannot do all that the flow asks; lists every gap.
        """
        changed = self._options.change_run(settings)
        return installed().check(self, dict(changed.run))

    def compile(self, target: str | Path | None = None, **settings: Unpack[flow_options.RunSettings]) -> Any:
        """Translate the flow to the form of a backend.

        Args:
            target: File to write to; None to get the content alone.
            settings: As of `options`.

        Raises:
            UnsupportedError: The backend cannot do all that the flow asks; lists every gap.
        """
        changed = self._options.change_run(settings)
        return installed().compile(self, target, dict(changed.run))

    def _body(self) -> subflows.Body:
        call = o.StepOptions(after=self._options.after, parallel=self._options.parallel, batch=self._options.batch)
        return subflows.Body(self.name, code_key(self.function), place_of(self.function), self._signature, self.function, call)

    def _refuse_inside(self, verb: str) -> None:
        tracer = current()
        if tracer is not None:
            raise FlowError(
                f"it calls {self.name}.{verb}(...) inside a flow. Call {self.name}(...) to make its steps part of the flow.", tracer.name
            )

    def __repr__(self) -> str:
        return f"<flow {self.name}{inspect.signature(self.function)}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return reduced(self, self._options)


@overload
def flow(function: Callable[P, R], /) -> Flow[P, R]: ...


@overload
def flow(**settings: Unpack[flow_options.FlowSettings]) -> Callable[[Callable[P, R]], Flow[P, R]]: ...


def flow(function: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Make a function a flow.

    Args:
        function: The function, where the decorator stands without brackets.
        settings: ``name tags schedule timezone``, and raw settings of one backend each: ``metaflow={...}``, ``kubeflow={...}``.

    Raises:
        ConfigError: An option is unknown or malformed.
        FlowError: The thing decorated cannot be a flow.
    """
    names = _local_names(sys._getframe(1))  # noqa: SLF001  (as in step)
    if function is not None:
        return _made_flow(function, settings, names)
    return lambda decorated: _made_flow(decorated, settings, names)


def _made_flow(function: Callable[..., Any], settings: Mapping[str, Any], names: Mapping[str, Any]) -> Flow[..., Any]:
    if isinstance(function, (Step, Flow)):
        raise FlowError(f"{function!r} is a {type(function).__name__.lower()} already; decorate it once.")
    refuse_odd_functions(function, "flow")
    options = flow_options.FlowOptions().change({"name": getattr(function, "__name__", None), **settings})
    starred = [p for p in inspect.signature(function).parameters.values() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if starred:
        raise FlowError(
            f"parameters of a flow have names, and {starred[0]} stands for any number. Take a list or a dict instead.", options.name
        )
    wanted = names_in(function)
    return Flow(function, options, Signature(function, {n: v for n, v in names.items() if n in wanted}))


def refuse_odd_functions(function: Any, what: str) -> None:
    """Raise for things that cannot be a step or flow.

    Raises:
        FlowError: It is no function, a method, asynchronous, or (of a flow) a generator.
    """
    if not callable(function):
        raise FlowError(f"@{what} goes on a function, and {function!r} is none.")
    name = getattr(function, "__name__", repr(function))
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise FlowError(f"{what} {name!r} is asynchronous. Write a plain function; call asyncio.run(...) in it.")
    if what == "flow" and inspect.isgeneratorfunction(function):
        raise FlowError(f"flow {name!r} has a yield in it. A flow returns what it gives, once.")
    owner = getattr(function, "__qualname__", "").rpartition(".")[0]
    first = next(iter(inspect.signature(function).parameters), None)
    if first in {"self", "cls"} and owner and not owner.endswith("<locals>"):
        raise FlowError(f"{what} {name!r} is a method of {owner}. Write a plain function, and give it the object as an argument.")


def reduced(decorated: Step[..., Any] | Flow[..., Any], options: object) -> str | tuple[Any, ...]:
    """Return how a step or flow is pickled: by its name where it can be imported, else by its function.

    A function that has been decorated cannot be found under its own name, since the step stands there.
    """
    module, qualname = decorated.__module__, getattr(decorated, "__qualname__", "")
    found: Any = sys.modules.get(module) if module != "__main__" else None
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if found is decorated:
        return str(qualname)
    if type(found) is type(decorated) and found.function is decorated.function:
        return _changed, (found, options)
    return type(decorated), (decorated.function, options)


def _changed(decorated: Any, options: Any) -> Any:
    return type(decorated)(decorated.function, options)


def code_key(function: Any) -> object:
    """Return what makes two functions the same: their code, so that one made twice by a factory is one."""
    return getattr(inspect.unwrap(function), "__code__", function)


def place_of(function: Any) -> str:
    """Return a function's place for messages."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(function))}"
    return name if code is None else f"{name} (line {code.co_firstlineno})"


def first_line(function: Any) -> str:
    """Return the first line of a docstring."""
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _local_names(frame: Any) -> Mapping[str, Any]:
    """Return the names of the function that a decorator stands in; nothing at the top of a module, whose names are found anyway."""
    return {} if frame.f_locals is frame.f_globals else frame.f_locals


def _folder_of(function: Any) -> Path | None:
    code = getattr(inspect.unwrap(function), "__code__", None)
    file = Path(code.co_filename) if code is not None else None
    return file.parent if file is not None and file.is_file() else None


__all__ = ["Flow", "Step", "flow", "step"]
