"""Reasons: the user's own traceback, told apart from running out of memory and from flowbridge's own refusals."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

from flowbridge.artifacts.store import Store
from flowbridge.errors import ArtifactDamagedError, StoreFullError
from flowbridge.ir.bindings import Constant
from flowbridge.ir.resources import Resources
from flowbridge.records.models import Reason
from flowbridge.worker.failure import reason_of

from .driver import Driven, drive, flow, out, step


def reason(run: Driven, name: str = "a") -> Reason:
    found = run.records[name, ()].reason
    assert found is not None
    return found


def inner(x: int) -> None:
    raise KeyError(x)


def outer() -> None:
    try:
        inner(3)
    except KeyError as error:
        raise ValueError("no good") from error


def test_the_users_frames_come_with_file_line_and_source(store: Store) -> None:
    told = reason(drive(flow(step("a")), {"a": outer}, store))
    assert told.kind == "error"
    assert told.error == "ValueError"
    line = outer.__code__.co_firstlineno + 4
    assert told.message == f"ValueError: no good ({__file__}:{line}, in outer)"
    assert [(f.file, f.function, f.text) for f in told.frames] == [(__file__, "outer", 'raise ValueError("no good") from error')]
    assert told.traceback is not None
    assert "KeyError: 3" in told.traceback
    assert "direct cause" in told.traceback
    assert "flowbridge/worker" not in told.traceback


def test_the_message_names_the_users_line_where_a_library_raised(store: Store) -> None:
    def read() -> str:
        return Path("/nowhere/at/all").read_text()

    told = reason(drive(flow(step("a")), {"a": read}, store))
    assert told.message.endswith(f"({__file__}:{read.__code__.co_firstlineno + 1}, in read)")
    assert told.frames[-1].file != __file__


def test_wrong_arguments_are_told(store: Store) -> None:
    told = reason(drive(flow(step("a", inputs={"nope": Constant(value=1)})), {"a": lambda: 1}, store))
    assert told.error == "TypeError"
    assert "unexpected keyword argument 'nope'" in told.message


def test_running_out_of_memory_is_told_apart(store: Store) -> None:
    def greedy() -> None:
        raise MemoryError

    told = reason(drive(flow(step("a", resources=Resources(memory=2048))), {"a": greedy}, store))
    assert told.kind == "out_of_memory"
    assert told.declared == 2048


@pytest.mark.parametrize(("code", "expected"), [(3, 3), (0, 0), (None, 0), ("text", 1)])
def test_a_step_that_ends_its_process_has_failed(store: Store, code: object, expected: int) -> None:
    def leave() -> None:
        sys.exit(code)  # type: ignore[arg-type]

    told = reason(drive(flow(step("a")), {"a": leave}, store))
    assert told.error == "SystemExit"
    assert told.exit_code == expected
    assert f"sys.exit({code!r})" in told.message


def test_an_interrupted_task_is_cancelled_and_the_interrupt_goes_on(store: Store) -> None:
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.run import run_task
    from flowbridge.worker.session import Session

    from .driver import create

    def stop() -> None:
        raise KeyboardInterrupt

    files = create(flow(step("a")), store)
    with pytest.raises(KeyboardInterrupt):
        run_task(WorkOrder(store=store.url, flow="f", run="r1", step="a"), session=Session(store, functions={"a": stop}, capture="none"))
    record = files.attempt("a", (), 0)
    assert record is not None
    assert record.state == "cancelled"


def test_errors_of_flowbridge_itself_have_no_traceback() -> None:
    told = reason_of(ArtifactDamagedError("The blob x is damaged"))
    assert told.message == "The blob x is damaged"
    assert told.traceback is None
    assert told.frames == ()


def test_files_of_the_bundle_are_shown_by_their_place_in_the_project(tmp_path: Path) -> None:
    source = tmp_path / "pkg" / "steps.py"
    source.parent.mkdir()
    source.write_text("def f():\n    raise ValueError('x')\n")
    space: dict[str, object] = {}
    exec(compile(source.read_text(), str(source), "exec"), space)
    with pytest.raises(ValueError, match="x") as caught:
        space["f"]()  # type: ignore[operator]
    told = reason_of(caught.value, code_folder=tmp_path)
    assert told.frames[-1].file == "pkg/steps.py"
    assert told.frames[-1].text == "raise ValueError('x')"


def test_a_damaged_input_fails_the_step_that_reads_it_by_name(store: Store) -> None:
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.run import run_task
    from flowbridge.worker.session import Session

    graph = flow(step("a"), step("b", inputs={"x": out("a")}))
    run = drive(flow(step("a")), {"a": lambda: 1}, store)
    path = next(f.path for f in run.files.task_files() if f.kind == "end")
    data = bytearray(store.content.get(path))
    data[len(data) // 2] ^= 1
    store.content.put(path, bytes(data))
    session = Session(store, functions={"b": lambda x: x}, graph=graph, capture="none")
    record = run_task(WorkOrder(store=store.url, flow="f", run="r1", step="b"), session=session)
    assert record.state == "failed"
    assert record.reason is not None
    assert record.reason.error == "ArtifactDamagedError"
    assert path in record.reason.message
    assert record.reason.traceback is None


@pytest.mark.parametrize("error", [StoreFullError("full"), OSError(errno.ENOSPC, "No space left on device")])
def test_running_out_of_disk_is_told_apart(error: OSError) -> None:
    assert reason_of(error).kind == "out_of_disk"
    assert reason_of(OSError(errno.EIO, "broken")).kind == "error"
