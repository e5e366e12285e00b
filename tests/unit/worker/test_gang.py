"""Members of a gang but the first: how the step went there is what is told, whatever became of its log."""

from __future__ import annotations

import pytest

from flowbridge.artifacts.store import Store
from flowbridge.errors import StoreUnavailableError
from flowbridge.records.files import RunFiles
from flowbridge.worker.gang import run_far_member
from flowbridge.worker.order import WorkOrder
from flowbridge.worker.session import Session

from .driver import create, flow, step


def test_a_member_that_succeeded_is_not_failed_by_a_log_that_cannot_be_written(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = flow(step("a", kind="none", outputs=""))
    create(graph, store)

    def away(*_: object) -> None:
        raise StoreUnavailableError("the store is away")

    monkeypatch.setattr(RunFiles, "write_log", away)
    order = WorkOrder(store=store.url, flow="f", run="r1", step="a", backend="local")
    session = Session(store, functions={"a": lambda: print("here")}, graph=graph)
    assert run_far_member(order, 1, session=session) is None
    said = capfd.readouterr()
    assert "here" in said.out
    assert "the log of member 1 of a is not kept: the store is away" in said.err
