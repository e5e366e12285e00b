"""What the generated FlowSpecs call. Every step's body is one call; all that is done, the worker does.

Imported in every task's process before Metaflow itself, so it imports nothing heavy. A task hands its request to the warm helper of
its run where there is one; else it does it here.
"""

# ruff: noqa: SLF001  (how deep the foreaches are nested is told nowhere else without loading their lists)
from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from flowbridge.backends.metaflow import quick_graph
from flowbridge.backends.metaflow.outputs import Output, Result
from flowbridge.backends.metaflow.own import current, metaflow_module
from flowbridge.backends.metaflow.variables import CARDS, HELPER, RUN, STORE

if TYPE_CHECKING:
    from flowbridge.backends.metaflow.perform import Answer

_RESUMED = "-resumed-"
_CONTAINERS = ("METAFLOW_KUBERNETES_WORKLOAD", "AWS_BATCH_JOB_ID")

quick_graph.install()


class Source:
    """The flow that a FlowSpec was made from, as its steps see it.

    Args:
        flow: Name of the flow.
        store: URL of the store that runs are kept in.
    """

    def __init__(self, *, flow: str, store: str) -> None:
        self.flow = flow
        self._store = store

    @property
    def store(self) -> str:
        """URL of the store."""
        return os.environ.get(STORE) or self._store

    # --- one per kind of step ----------------------------------------------------------------------------------------------------

    def begin(self, spec: Any) -> None:
        """Open the run, or make it where Metaflow was started by itself."""
        _reset(spec)
        spec.map_index = ()
        run = os.environ.get(RUN)
        if not run:
            from flowbridge.backends.metaflow.standalone import make_run  # noqa: PLC0415  (only without flowbridge's own start)

            run = make_run(spec, self.flow, self.store, _folder(spec), native=_run_pathspec(), here=_is_here())
        spec.flowbridge_run = run

    def task(self, spec: Any, node: str, inputs: Sequence[Any] | None = None) -> None:
        """Run the task of a step."""
        _arrive(spec, inputs)
        gang = _gang()
        if gang is not None and gang[0] and _is_here():
            return  # a gang on this machine is started as one, by its first member
        answer = self._ask(spec, "task", node)
        spec.state, spec.reason, spec.metrics = answer.state, answer.reason, answer.metrics
        spec.outputs = {name: Output(self.store, reference) for name, reference in answer.outputs.items()}
        if answer.state and os.environ.get(CARDS) != "0":
            from flowbridge.backends.metaflow.card import save_card  # noqa: PLC0415

            save_card(self.flow, spec.flowbridge_run, node, answer, spec.outputs)
        if answer.again or answer.stop:
            raise _failure(answer.again or answer.stop or "")

    def items(self, spec: Any, node: str, lanes: int | str | None = None) -> list[tuple[int | str, ...]]:
        """Expand a map and return what a foreach goes over: a map index for each item."""
        _enter(spec)
        answer = self._ask(spec, "items", node, lanes=lanes)
        return [tuple(place) for place in answer.items]

    def split(self, spec: Any) -> None:
        """Go on: the step is there for Metaflow only."""
        _arrive(spec, None)

    def join(self, spec: Any, inputs: Sequence[Any]) -> None:
        """Go on from several: the step is there for Metaflow only."""
        _arrive(spec, inputs)

    def finish(self, spec: Any) -> None:
        """Close the run; fail if it failed, so that Metaflow's run fails too."""
        _arrive(spec, None)
        answer = self._ask(spec, "finish", "")
        spec.state, spec.reason, spec.metrics = answer.state, answer.reason, answer.metrics
        spec.result = Result(self.store, self.flow, spec.flowbridge_run)
        if answer.state != "done":
            raise _failure(f"run {spec.flowbridge_run} {answer.state}: {answer.reason}{_way_out(answer.about.get('failed'))}")

    # --- asking ------------------------------------------------------------------------------------------------------------------

    def _ask(self, spec: Any, verb: str, node: str, lanes: int | str | None = None) -> Answer | SimpleNamespace:
        origins = _resumed(spec)
        data = {
            "verb": verb,
            "store": self.store,
            "flow": self.flow,
            "run": spec.flowbridge_run,
            "origins": origins,
            "node": node,
            "place": spec.map_index,
            "attempt": current().retry_count,
            "lanes": lanes,
            "native": current().pathspec,
            "here": _is_here(),
            "gang": None if _is_here() else _gang(),
        }
        helper = os.environ.get(HELPER)
        if helper:
            from flowbridge.backends.metaflow.warm_client import ask  # noqa: PLC0415

            answer = ask(helper, data)
            if answer is not None:
                return answer
        from flowbridge.backends.metaflow.cold import perform_here  # noqa: PLC0415  (all of flowbridge's worker: not with a helper)

        return perform_here(data)


def _reset(spec: Any) -> None:
    """Have a step begin without the results of the one before it, which Metaflow passes on."""
    spec.state, spec.reason, spec.metrics, spec.outputs = "", None, {}, {}


def _arrive(spec: Any, inputs: Sequence[Any] | None) -> None:
    """Find out where this task stands: which run, and which items of which maps."""
    _reset(spec)
    if inputs is not None:
        spec.flowbridge_run = inputs[0].flowbridge_run
        spec.map_index = inputs[0].map_index[: _depth(spec)]
    else:
        _enter(spec)


def _enter(spec: Any) -> None:
    """Take the item of a foreach that this task is the first to be inside of."""
    if _depth(spec) > len(spec.map_index):
        spec.map_index = spec.input


def _depth(spec: Any) -> int:
    return sum(1 for frame in spec._foreach_stack if frame.var != "_parallel_ubf_iter")


def _resumed(spec: Any) -> list[str]:
    """Give the tasks that Metaflow runs again, when it resumes a run, a run of their own in flowbridge; return the ids of the run before."""
    before = current().origin_run_id
    if not before:
        return []
    first = spec.flowbridge_run.partition(_RESUMED)[0]
    spec.flowbridge_run = f"{first}{_RESUMED}{current().run_id}"
    return [f"{first}{_RESUMED}{before}", first]


def _way_out(step: str | None) -> str:
    if step is None:
        return ""
    return f"\nTo go on from there: python {Path(sys.argv[0]).name} resume {step} --origin-run-id {current().run_id}"


def _gang() -> tuple[int, int, str] | None:
    """Return rank, size and the address of the first of a gang; None for a task of one node."""
    if not getattr(current(), "is_parallel", False):
        return None
    place = current().parallel
    return place.node_index, place.num_nodes, place.main_ip


def _is_here() -> bool:
    """Say whether the task runs on this machine, not in a container of its own."""
    return not any(os.environ.get(name) for name in _CONTAINERS)


def _folder(spec: Any) -> Path:
    return Path(str(sys.modules[type(spec).__module__].__file__)).resolve().parent


def _run_pathspec() -> str:
    return f"{current().flow_name}/{current().run_id}"


def _failure(message: str) -> Exception:
    """Return an error that Metaflow shows as a sentence; the user's own traceback is in the log already."""
    error: Exception = metaflow_module("exception").MetaflowException(message)
    error.headline = "Failed"  # type: ignore[attr-defined]
    return error
