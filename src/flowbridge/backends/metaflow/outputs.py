"""What Metaflow keeps of a task: small objects that say where a value is, and load it when asked.

They are pickled by Metaflow as artifacts, so this module imports nothing but what Python brings along.
"""

from __future__ import annotations

import json
from typing import Any


class Output:
    """One output of a step. `load()` gives the value; nothing of it is kept by Metaflow.

    Attributes:
        store: URL of the store.
        type: ``module.qualname`` of the value's class, for people.
        size: Bytes as stored.
        digest: Of those bytes.
    """

    def __init__(self, store: str, reference: dict[str, Any]) -> None:
        self.store = store
        self.type: str = reference.get("type", "")
        self.size: int = reference.get("size", 0)
        self.digest: str = reference.get("digest", "")
        self._reference = json.dumps(reference)

    def load(self) -> Any:
        """Return the value, read from the store and verified."""
        from flowbridge.artifacts.reference import Reference  # noqa: PLC0415  (only where a value is asked for)
        from flowbridge.worker.session import open_store  # noqa: PLC0415

        return open_store(self.store).load(Reference.model_validate_json(self._reference))

    def __repr__(self) -> str:
        """Show what it is without loading it."""
        return f"<Output {self.type or 'value'}, {self.size} bytes, {self.digest[:19]}; .load() gives it>"


class Result:
    """What the flow returned. `load()` gives it.

    Attributes:
        store: URL of the store.
        flow: Name of the flow.
        run: Id of the run.
    """

    def __init__(self, store: str, flow: str, run: str) -> None:
        self.store = store
        self.flow = flow
        self.run = run

    def load(self) -> Any:
        """Return what the flow returned, read from the store and verified."""
        from flowbridge.worker.order import WorkOrder  # noqa: PLC0415
        from flowbridge.worker.result import resolve_result  # noqa: PLC0415
        from flowbridge.worker.session import Session  # noqa: PLC0415

        order = WorkOrder(store=self.store, flow=self.flow, run=self.run, step="", backend="metaflow")
        run = Session().run(order)
        return resolve_result(run.graph, run.files, run.store)

    def __repr__(self) -> str:
        """Show what it is without loading it."""
        return f"<Result of {self.flow}, run {self.run}; .load() gives it>"
