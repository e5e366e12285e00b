"""What happens between the start and the end of a task: conditions, inputs, the function, outputs."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flowbridge.errors import FlowbridgeError, UsageError
from flowbridge.ir.attempts import is_last, with_memory
from flowbridge.ir.control import MapNode
from flowbridge.records import reasons
from flowbridge.records.models import Reason, TaskRecord
from flowbridge.worker import containers, outputs
from flowbridge.worker.context import Context, running
from flowbridge.worker.decide import NotRun, Ready, decide
from flowbridge.worker.expand import Expander
from flowbridge.worker.failure import reason_of
from flowbridge.worker.load import Loader
from flowbridge.worker.lookup import Blocked, Skipped

if TYPE_CHECKING:
    from flowbridge.artifacts.reference import Reference
    from flowbridge.ir.environment import EnvironmentWish
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import Index
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.session import RunSession


class SecretMissingError(UsageError, LookupError):
    """A secret that a step asks for is not there."""


class BatchItemError(FlowbridgeError):
    """An item of a batch failed; its cause is the error."""


def execute(run: RunSession, node: StepNode | MapNode, order: WorkOrder, told: dict[str, Any]) -> TaskRecord:
    """Do what an order says and return the record, its times not yet filled in. What the step raises is raised.

    Args:
        run: The run.
        node: The step or map.
        order: The order.
        told: Is filled with what the step told about itself (metrics and the like), also when it raises.
    """
    loader = Loader(run.store, run.files, run.class_of)
    if isinstance(node, MapNode):
        return Expander(run.locator, loader).expand(node, order.index, order.attempt)
    task = _StepTask(run, node, order, loader)
    try:
        return task.run_batch() if run.graph.batch_of(node) else task.run_single()
    finally:
        told.update(task.context.told())


def accompany(run: RunSession, node: StepNode, order: WorkOrder) -> None:
    """Run a step as a further member of its gang. What it returns is dropped: the gang's outputs are those of its first member."""
    task = _StepTask(run, node, order, Loader(run.store, run.files, run.class_of))
    ready = task.prepare(order.index)
    if isinstance(ready, Ready):
        with environment_of(node.environment), running(task.context):
            task.call(ready)


class _StepTask:
    """One attempt of one task of a step."""

    def __init__(self, run: RunSession, node: StepNode, order: WorkOrder, loader: Loader) -> None:
        self.run = run
        self.node = node
        self.order = order
        self.loader = loader
        self.context = Context(
            files=run.files,
            store=run.store,
            step=node.id,
            index=order.index,
            attempt=order.attempt,
            resources=with_memory(node.resources, order.growths),
        )

    # --- one value each ------------------------------------------------------------------------------------------------------

    def run_single(self) -> TaskRecord:
        ready = self.prepare(self.order.index)
        if isinstance(ready, NotRun):
            return self.not_run(ready.reason)
        with environment_of(self.node.environment), running(self.context):
            saved = self.produce(ready)
            return self.record("done", outputs=saved)

    def prepare(self, index: Index) -> Ready | NotRun:
        """Say whether the task (of a batch: one of its items) runs."""
        return decide(self.node, index, self.run.locator, self.loader.load)

    def produce(self, ready: Ready) -> tuple[tuple[str, Reference], ...]:
        """Load the inputs, run the step, save the outputs."""
        node = self.node
        if node.container is not None:
            return containers.run(node, dict(ready.inputs), self.loader, self.context)
        value = self.call(ready)
        return outputs.save(node, outputs.split(node, value), self.run.store, self.run.hints(node).outputs(node))

    def call(self, ready: Ready) -> Any:
        """Load the inputs and run the step; when it returns, the inputs are no longer in memory."""
        positional, named = self.arguments(ready, self.run.hints(self.node).parameters)
        return self.run.function(self.node)(*positional, **named)

    def arguments(self, ready: Ready, hints: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments by position (names ``*0``, ``*1`` ...) and by name."""
        named: dict[str, Any] = {}
        extra: list[tuple[int, Any]] = []
        for name, place in ready.inputs:
            value = self.loader.load(place, hints.get(name))
            if name.startswith("*"):
                extra.append((int(name[1:]), value))
            else:
                named[name] = value
        positional = self.leading(named, before_extras=bool(extra))
        return positional + [value for _, value in sorted(extra, key=lambda pair: pair[0])], named

    def leading(self, named: dict[str, Any], *, before_extras: bool) -> list[Any]:
        """Take out of the named arguments those that can only be given by position: before ``/``, and before ``*args`` where some are given."""
        function = self.run.function(self.node)
        found = []
        for parameter in inspect.signature(function).parameters.values():
            extras_follow = before_extras and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            if parameter.kind is not parameter.POSITIONAL_ONLY and not extras_follow:
                break
            if parameter.name not in named and not before_extras:
                break
            found.append(named.pop(parameter.name) if parameter.name in named else parameter.default)
        return found

    # --- batches ---------------------------------------------------------------------------------------------------------------

    def run_batch(self) -> TaskRecord:
        """Run the step for each item of a batch, one after the other; each output is then a list over the items."""
        indices = self.items()
        if isinstance(indices, NotRun):
            return self.not_run(indices.reason)
        made: dict[int, dict[str, Reference]] = {}
        skipped: list[Reason] = []
        failed: list[Reason] = []
        with environment_of(self.node.environment), running(self.context):
            for place, index in enumerate(indices):
                ready = self.prepare(index)
                if isinstance(ready, Ready):
                    self.run_item(place, index, ready, made, failed)
                elif ready.reason.kind == "upstream":
                    return self.not_run(ready.reason)
                else:
                    skipped.append(ready.reason)
            if len(skipped) == len(indices):
                return self.not_run(skipped[0])
            return self.batch_record(made, failed, len(indices))

    def items(self) -> list[Index] | NotRun:
        map_node = self.run.graph.maps_by_id[self.node.scope[-1]]
        outer, unit = self.order.index[:-1], self.order.index[-1]
        expansion = self.run.locator.lookup.record(map_node.id, outer)
        units = self.run.locator.lookup.units(map_node.id, outer)
        if isinstance(units, Blocked):
            return NotRun(units.reason)
        if isinstance(units, Skipped) or expansion is None:
            return NotRun(reasons.skipped_input(map_node.id))
        size = map_node.batch or 1
        return [(*outer, position) for position in range(unit * size, min((unit + 1) * size, expansion.count or 0))]

    def run_item(self, place: int, index: Index, ready: Ready, made: dict[int, dict[str, Reference]], failed: list[Reason]) -> None:
        self.context.index = index
        try:
            made[place] = dict(self.produce(ready))
        except Exception as error:
            last = is_last(self.node, self.order.attempt, self.order.growths, "error")
            if not (self.node.allow_failure and last):
                raise BatchItemError(f"item {index[-1]}: {type(error).__qualname__}: {error}") from error
            failed.append(reason_of(error, declared=self.node.resources.memory))

    def batch_record(self, made: dict[int, dict[str, Reference]], failed: list[Reason], items: int) -> TaskRecord:
        """Return the record of a batch. Items that failed, allowed, are left out of the lists, as they would be without batches."""
        lists = tuple((port.name, self.run.store.collect([row[port.name] for row in made.values()])) for port in self.node.outputs)
        held = tuple(made) if len(made) < items else None
        about: dict[str, Any] = {"outputs": lists, "items": items, "held": held}
        if not failed:
            return self.record("done", **about)
        return self.record("failed", allowed=True, reason=failed[0], **about)

    # --- records -----------------------------------------------------------------------------------------------------------------

    def not_run(self, reason: Reason) -> TaskRecord:
        return reasons.never_ran(self.node, self.order.index, reason, self.order.attempt)

    def record(self, state: Any, **about: Any) -> TaskRecord:
        return TaskRecord(step=self.node.id, index=self.order.index, attempt=self.order.attempt, state=state, finished=time.time(), **about)


@contextmanager
def environment_of(wish: EnvironmentWish) -> Iterator[None]:
    """Set a step's environment variables and secrets, and put things back afterwards.

    Raises:
        SecretMissingError: A secret is neither set for this process nor found in its environment.
    """
    wanted = dict(wish.env)
    for secret in wish.secrets:
        if secret.env in os.environ:
            continue
        if secret.name not in os.environ:
            raise SecretMissingError(
                f"the step asks for the secret {secret.name!r} as ${secret.env}, which is not there: "
                f"set the environment variable {secret.name} (or {secret.env}) where the flow is started"
            )
        wanted[secret.env] = os.environ[secret.name]
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
