"""From a flow to the FlowSpec file: what `lower` made, as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowbridge.backends.metaflow.lower import lower
from flowbridge.backends.metaflow.names import class_name
from flowbridge.backends.metaflow.options import options_of
from flowbridge.backends.metaflow.parameters import flow_parameter
from flowbridge.backends.metaflow.place import compute_of
from flowbridge.backends.metaflow.render import WIDTH, call, comment, decorator, docstring, literal
from flowbridge.backends.metaflow.resources import MOST_RETRIES, Decorator, decorators, raw_of_flow, secret_sources, together
from flowbridge.backends.metaflow.schedule import IN_UTC, cron_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowbridge.backends.metaflow.lower import Call, FlowStep, Lowered
    from flowbridge.backends.metaflow.options import MetaflowOptions
    from flowbridge.backends.metaflow.parameters import FlowParameter
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.settings import Profile

_PARAMETER_NAMES = {"JSONType"}


@dataclass(frozen=True)
class FlowFile:
    """A generated FlowSpec.

    Attributes:
        text: The file.
        name: Of the class, which is the flow's name in Metaflow.
        lowered: Its steps.
        parameters: Its parameters.
        decorators: Names of all decorators in it.
    """

    text: str
    name: str
    lowered: Lowered
    parameters: tuple[FlowParameter, ...]
    decorators: frozenset[str]


def compile_flow(graph: FlowGraph, profile: Profile, *, store: str | None = None) -> FlowFile:
    """Return the FlowSpec of a flow.

    Args:
        graph: The flow.
        profile: Settings.
        store: URL of the store as tasks open it; None: as the profile says.
    """
    return _Writer(graph, profile, store or profile.store).write()


class _Writer:
    """One file on its way."""

    def __init__(self, graph: FlowGraph, profile: Profile, store: str) -> None:
        self.graph = graph
        self.profile = profile
        self.options: MetaflowOptions = options_of(profile)
        self.store = store
        self.lowered = lower(graph, bundles=self.options.target == "airflow")
        self.name = class_name(graph.name)
        names = dict(self.lowered.parameters)
        self.computes = {s.id: compute_of(s, profile, self.options) for s in graph.steps}
        self.remote = self.options.deployed or set(self.computes.values()) != {"local"}
        self.parameters = tuple(flow_parameter(p, names[p.name]) for p in graph.parameters)
        self.made = {s.name: self.decorators(s) for s in self.lowered.steps}
        self.flow_made = self.flow_decorators()

    def write(self) -> FlowFile:
        lines = [*self.head(), "", "", *self.flow_class(), "", "", 'if __name__ == "__main__":', f"    {self.name}()"]
        used = frozenset(d.name for made in (*self.made.values(), self.flow_made) for d in made)
        return FlowFile("\n".join(lines) + "\n", self.name, self.lowered, self.parameters, used)

    # --- the file --------------------------------------------------------------------------------------------------------------

    def head(self) -> Iterator[str]:
        """The imports, and where runs are kept."""
        yield "# Made by flowbridge from a flow; a change belongs in the flow, not in here. Runs with: python THIS_FILE run"
        if self.options.install is not None and self.remote:
            yield "import importlib.util"
            yield "import subprocess"
            yield "import sys"
            yield ""
            yield 'if importlib.util.find_spec("flowbridge") is None:  # in a container whose image does not hold it'
            yield from call(
                "subprocess.check_call", [f'[sys.executable, "-m", "pip", "install", "--quiet", {literal(self.options.install)}]'], indent=1
            )
            yield ""
        yield "# The next line also teaches Metaflow to read large graphs in linear time, so it stands before Metaflow's own."
        yield "from flowbridge.backends.metaflow.runtime import Source"
        names = {"FlowSpec", "step"} | {d.name for made in (*self.made.values(), self.flow_made) for d in made}
        names |= {"Parameter"} if self.parameters else set()
        names |= {p.kind for p in self.parameters} & _PARAMETER_NAMES
        ordered = sorted(names, key=lambda name: (not name[0].isupper(), name))
        line = f"from metaflow import {', '.join(ordered)}"
        yield from [line] if len(line) <= WIDTH else ["from metaflow import (", *(f"    {name}," for name in ordered), ")"]
        yield ""
        yield from call("FLOW = Source", arguments=(("flow", self.graph.name), ("store", self.store)))

    def flow_class(self) -> Iterator[str]:
        """The class."""
        for made in self.flow_made:
            yield from decorator(made, 0)
        yield f"class {self.name}(FlowSpec):"
        yield from docstring(self.graph.doc or f"The flow {self.graph.name}.", 1)
        for parameter in self.parameters:
            yield ""
            kind = f"type={parameter.kind}"
            positional = [literal(parameter.name), kind, *(f"{k}={literal(v)}" for k, v in parameter.arguments)]
            yield from call(f"{parameter.attribute} = Parameter", positional, indent=1)
        for step in self.lowered.steps:
            yield ""
            yield from self.method(step)

    def method(self, step: FlowStep) -> Iterator[str]:
        """One step."""
        yield from (line for made in self.made[step.name] for line in decorator(made))
        yield "    @step"
        yield f"    def {step.name}(self{', inputs' if step.joins else ''}):"
        yield from self.about(step)
        yield from self.body(step)
        yield from self.transition(step)

    def about(self, step: FlowStep) -> Iterator[str]:
        """What a reader wants to know about a step."""
        node = step.node
        if node is not None:
            yield from docstring(node.doc, 2)
            if node.id != step.name:
                yield from comment(f"The step {node.id}; Metaflow's names are of a-z, 0-9 and _.", 2)
            if node.retry.retries > MOST_RETRIES and not step.lane:
                more = node.retry.retries - MOST_RETRIES
                yield from comment(f"Metaflow retries at most {MOST_RETRIES} times; the last attempt makes the further {more} itself.", 2)
        if step.lane and not any(c.lanes == "each" for s in self.lowered.steps for c in s.calls if step in s.next):
            yield from comment("Each lane takes its items through here one after the other; there are as many lanes as may run at once.", 2)
        if step.why:
            yield from comment(step.why, 2)

    def body(self, step: FlowStep) -> Iterator[str]:
        """What a step does."""
        given = ", inputs" if step.joins else ""
        if step.name == "start":
            yield "        FLOW.begin(self)"
        elif step.name == "end":
            yield "        FLOW.finish(self)"
        elif not any(c.verb == "task" for c in step.calls):
            yield f"        FLOW.{'join' if step.joins else 'split'}(self{given})"
        for made in step.calls:
            yield self.line(made, given)

    @staticmethod
    def line(made: Call, given: str) -> str:
        """One call."""
        if made.verb == "task":
            return f"        FLOW.task(self, {literal(made.node)}{given})"
        lanes = f", lanes={literal(made.lanes)}" if made.lanes else ""
        assigned = f"self.{made.attribute} = " if made.attribute else ""
        return f"        {assigned}FLOW.items(self, {literal(made.node)}{lanes})"

    @staticmethod
    def transition(step: FlowStep) -> Iterator[str]:
        """Where a step leads to: the last line, the only one that Metaflow reads."""
        if step.name == "end":
            return
        targets = [f"self.{s.name}" for s in step.next]
        if step.foreach:
            targets.append(f"foreach={literal(step.foreach)}")
        if step.parallel:
            targets.append(f"num_parallel={step.parallel}")
        yield from call("self.next", targets, indent=2)

    # --- decorators --------------------------------------------------------------------------------------------------------------

    def decorators(self, step: FlowStep) -> list[Decorator]:
        """The decorators of one step."""
        node = together(step.bundle) if step.bundle else step.node
        if node is None:
            return []
        compute = self.computes[node.id]
        made = decorators(node, compute, self.options, lane=step.lane)
        sources = secret_sources(node, compute)
        return [*made, Decorator("secrets", (("sources", sources),))] if sources else made

    def flow_decorators(self) -> list[Decorator]:
        """The decorators of the class."""
        made: dict[str, dict[str, object]] = {}
        schedule = self.graph.schedule
        if schedule is not None:
            made["schedule"] = {"cron": cron_for(schedule.cron, self.options.target, schedule.timezone)}
            if schedule.timezone is not None and self.options.target not in IN_UTC:
                made["schedule"]["timezone"] = schedule.timezone
        for name, arguments in raw_of_flow(self.graph.platform).items():
            made[name] = {**made.get(name, {}), **arguments}
        return [Decorator(name, tuple(arguments.items())) for name, arguments in made.items()]
