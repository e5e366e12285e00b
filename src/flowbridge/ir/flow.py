"""A whole flow as data: steps, maps, parameters and what it returns."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import Field

from flowbridge.ir.base import FrozenModel, JsonValue
from flowbridge.ir.bindings import Binding
from flowbridge.ir.control import Condition, MapNode
from flowbridge.ir.environment import EnvironmentWish
from flowbridge.ir.policies import CachePolicy, Retry
from flowbridge.ir.ports import OutputKind, Parameter, Port
from flowbridge.ir.resources import Resources
from flowbridge.ir.versions import SCHEMA_VERSION


class CodeRef(FrozenModel):
    """Where the function of a step is found in the code bundle.

    Attributes:
        module: Importable name of the module it is defined in.
        qualname: Qualified name in that module.
        by_value: The function cannot be imported elsewhere (a notebook, ``__main__``, a closure): the bundle carries it pickled.
    """

    module: str
    qualname: str
    by_value: bool = False


class ContainerSpec(FrozenModel):
    """A step that is any program in a container: files in, files out.

    Attributes:
        image: Container image.
        command: Program and arguments; ``{inputs.NAME}`` and ``{outputs.NAME}`` stand for the paths of files.
    """

    image: str
    command: tuple[str, ...]


class StepNode(FrozenModel):
    """One step of a flow; it has one task for every combination of items of the maps in its scope.

    Attributes:
        id: Unique in the flow: the step's name, prefixed ``group.`` for each inlined flow, with ``_2`` ... for further calls.
        name: The step's name as the user wrote it.
        code: The function, for steps in Python.
        container: The program, for container steps. Exactly one of `code` and `container` is set.
        inputs: Argument name and where its value comes from. Arguments left to the function's default are absent.
            Names of the form ``*0``, ``*1`` ... are positional extras for ``*args``.
        outputs: The outputs; empty for a step that returns nothing.
        output_kind: How the return value splits into the outputs.
        scope: Ids of the maps this step is inside of, outermost first.
        guards: Conditions that must all hold, else the task is skipped.
        after: Steps that must have ended before, without data.
        group: Names of the inlined flows it stands in, outermost first.
    """

    id: str
    name: str
    code: CodeRef | None = None
    container: ContainerSpec | None = None
    doc: str = ""
    inputs: tuple[tuple[str, Binding], ...] = ()
    outputs: tuple[Port, ...] = ()
    output_kind: OutputKind = "single"
    scope: tuple[str, ...] = ()
    guards: tuple[Condition, ...] = ()
    after: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    resources: Resources = Resources()
    retry: Retry = Retry()
    timeout: float | None = Field(default=None, gt=0)
    allow_failure: bool = False
    cache: CachePolicy | None = None
    environment: EnvironmentWish = EnvironmentWish()
    nodes: int = Field(default=1, ge=1)
    target: str | None = None
    tags: tuple[str, ...] = ()
    platform: tuple[tuple[str, JsonValue], ...] = ()
    """Raw settings for one backend each, such as ``("metaflow", {"kubernetes": {...}})``; passed through by that backend."""


class Schedule(FrozenModel):
    """When a deployed flow starts by itself.

    Attributes:
        cron: Five fields: minute hour day-of-month month day-of-week.
        timezone: IANA name; None means UTC.
    """

    cron: str
    timezone: str | None = None


class FlowGraph(FrozenModel):
    """A whole flow. Steps stand in the order in which they were called; every binding points backwards.

    Attributes:
        schema_version: Of this format.
        name: As the user wrote it.
        parameters: In the order of the signature.
        steps: In the order of the calls.
        maps: In the order of the calls.
        result: What the flow returns, by output name (``result`` for a single value); empty for a flow that returns nothing.
        result_kind: How those make up the return value.
        result_type: Class of the return value where its kind is ``fields``, as ``module:qualname``.
        schedule: When a deployment starts it.
        platform: Raw settings of the whole flow for one backend each.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    doc: str = ""
    parameters: tuple[Parameter, ...] = ()
    steps: tuple[StepNode, ...] = ()
    maps: tuple[MapNode, ...] = ()
    result: tuple[tuple[str, Binding], ...] = ()
    result_kind: Literal["none", "single", "tuple", "fields"] = "none"
    result_type: str | None = None
    tags: tuple[str, ...] = ()
    schedule: Schedule | None = None
    platform: tuple[tuple[str, JsonValue], ...] = ()

    @cached_property
    def nodes(self) -> tuple[StepNode | MapNode, ...]:
        """The steps, then the maps."""
        return (*self.steps, *self.maps)

    @cached_property
    def steps_by_id(self) -> dict[str, StepNode]:
        """The steps, by id."""
        return {s.id: s for s in self.steps}

    @cached_property
    def maps_by_id(self) -> dict[str, MapNode]:
        """The maps, by id."""
        return {m.id: m for m in self.maps}

    def node(self, node_id: str) -> StepNode | MapNode:
        """Return the step or map of that id.

        Raises:
            KeyError: There is none.
        """
        return self.steps_by_id.get(node_id) or self.maps_by_id[node_id]

    def batch_of(self, node: StepNode) -> int | None:
        """Return how many items of the innermost map around a step one of its tasks takes; None where it takes one, or none."""
        return self.maps_by_id[node.scope[-1]].batch if node.scope else None

    def time_limit(self, node: StepNode | MapNode) -> float | None:
        """Return the seconds that an attempt may take: of a batch, the time of one item for each."""
        if isinstance(node, MapNode) or node.timeout is None:
            return None
        return node.timeout * (self.batch_of(node) or 1)
