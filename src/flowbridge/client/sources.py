"""Where a run's values, records and code are read from."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from flowbridge.errors import FlowbridgeError, SerializationError
from flowbridge.worker.session import RunSession

if TYPE_CHECKING:
    from flowbridge.artifacts.reference import Reference
    from flowbridge.ir.control import MapNode
    from flowbridge.ir.flow import FlowGraph, StepNode
    from flowbridge.records.files import RunFiles

T = TypeVar("T")


class Source:
    """Reads a run. Its code is looked up when a value needs a class that this process has not imported."""

    def __init__(self, session: RunSession) -> None:
        self.session = session
        self._entered = False
        self._missing: Exception | None = None

    @property
    def files(self) -> RunFiles:
        """The records of the run."""
        return self.session.files

    @property
    def graph(self) -> FlowGraph:
        """The flow."""
        return self.session.graph

    def nodes(self) -> Iterator[StepNode | MapNode]:
        """Yield every step, each after the maps it is the first inside of."""
        told: set[str] = set()
        for step in self.graph.steps:
            for map_id in (*step.scope, step.id):
                if map_id not in told:
                    told.add(map_id)
                    yield self.graph.node(map_id)
        yield from (m for m in self.graph.maps if m.id not in told)

    def load(self, reference: Reference) -> Any:
        """Return a value."""
        return self.with_code(lambda: self.session.store.load(reference))

    def with_code(self, read: Callable[[], T]) -> T:
        """Read something; if it needs code that is not here, enter the run's bundle and try again."""
        try:
            return read()
        except (SerializationError, ImportError, AttributeError) as error:
            if not self._enter():
                raise self._told(error) from error
        try:
            return read()
        except SerializationError as error:
            raise self._told(error) from error

    def _told(self, error: Exception) -> Exception:
        """Return an error that also says why the code of the run, which may know what is missing, did not help."""
        if self._missing is None or not isinstance(error, SerializationError):
            return error
        return SerializationError(f"{error} The code of the run may know it, but could not be imported here: {self._missing}")

    def _enter(self) -> bool:
        """Make the modules of the run's bundle importable; return whether that changed anything."""
        if self._entered or self.session.record.bundle is None or not self.session.store.trust:
            return False
        self._entered = True
        for step in self.graph.steps:
            if step.code is not None:
                try:
                    self.session.function(step)
                except (FlowbridgeError, ImportError) as error:  # what is missing may not matter: that shows when the value is read again
                    self._missing = self._missing or error
        return True

    def class_of(self, step: str) -> Any:
        """Return the class that a step returns, where its code can be had."""
        if not self.session.store.trust:  # to find it, code of the bundle would be imported
            return None
        try:
            return self.session.class_of(step)
        except FlowbridgeError:  # no bundle: the fields are shown without their class
            return None

    def joined(self, step: str, values: dict[str, Any]) -> Any:
        """Return the outputs of a step (or the items of a map) as its function returned them."""
        node = self.graph.steps_by_id.get(step)
        if node is None:
            return values
        if node.output_kind == "none" or not values:
            return None
        if node.output_kind == "single":
            return next(iter(values.values()))
        if node.output_kind == "tuple":
            return tuple(values.values())
        return make_fields(self.class_of(step), values)


def make_fields(made: Any, values: dict[str, Any]) -> Any:
    """Put the fields of a value together again: in its own class where that is known, else in a named tuple."""
    if isinstance(made, type) and set(values) <= set(getattr(made, "__annotations__", ())):
        return made(**values)
    return namedtuple("Outputs", list(values))(**values)  # noqa: PYI024  (its fields are known at run time only)
