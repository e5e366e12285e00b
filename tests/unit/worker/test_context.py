"""What a step sees and can tell, and that steps stay plain functions outside of runs."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import pytest

from flowbridge.artifacts.store import Store
from flowbridge.ir.bindings import Constant
from flowbridge.ir.resources import Resources
from flowbridge.worker import context as c

from .driver import drive, flow, item, out, over, step


class Figure:
    def savefig(self, target: Path, **options: Any) -> None:
        assert options["format"] == "png"
        Path(target).write_bytes(b"png")


def test_a_step_knows_which_task_it_is(store: Store) -> None:
    def look() -> list[Any]:
        me = c.context()
        return [me.run_id, me.flow, me.step, me.index, me.attempt, me.resources.memory]

    run = drive(flow(step("a", resources=Resources(memory=1024)), result=out("a")), {"a": look}, store)
    assert run.result() == ["r1", "f", "a", (), 0, 1024]


@pytest.mark.parametrize("batch", [None, 2])
def test_the_index_is_that_of_the_item_with_batches_too(store: Store, batch: int | None) -> None:
    graph = flow(
        over("m", batch=batch, x=Constant(value=[7, 8, 9])), step("t", scope=("m",), inputs={"x": item("m", "x")}), result=out("t")
    )
    assert list(drive(graph, {"t": lambda x: [x, c.context().index[0]]}, store).result()) == [[7, 0], [8, 1], [9, 2]]


def test_the_scratch_folder_is_the_tasks_own_and_gone_afterwards(store: Store) -> None:
    seen: list[Path] = []

    def use() -> int:
        folder = c.context().scratch
        (folder / "x").write_text("y")
        seen.append(folder)
        return len(list(c.context().scratch.iterdir()))

    run = drive(flow(step("a"), step("b"), result=out("b")), {"a": use, "b": use}, store)
    assert run.result() == 1
    assert seen[0] != seen[1]
    assert not any(folder.exists() for folder in seen)


def test_metrics_params_figures_and_tables_are_in_the_record(store: Store) -> None:
    def tell() -> None:
        for i in range(3):
            c.log_metric("loss", 1 / (i + 1), step=i)
        c.log_metric("auc", 0.5)
        c.log_metric("bad", math.nan)
        c.log_param("lr", 0.1)
        c.log_param("path", Path("x"))
        c.log_param("odd", math.inf)
        c.log_figure("curve", Figure())
        c.log_figure("raw", b"bytes")
        c.log_table("rows", [{"a": 1}, {"a": 2}])

    run = drive(flow(step("a", kind="none", outputs="")), {"a": tell}, store)
    record = run.files.attempt("a", (), 0)
    assert record is not None
    assert record.metrics["loss"] == 1 / 3
    assert record.metrics["auc"] == 0.5
    assert math.isnan(record.metrics["bad"])
    assert record.series == {"loss": ((0, 1.0), (1, 0.5), (2, 1 / 3))}
    assert record.params == {"lr": 0.1, "path": "x", "odd": "inf"}
    extras = dict(record.extras)
    assert list(extras) == ["curve", "raw", "rows"]
    assert store.load(extras["raw"]) == b"bytes"
    assert store.load(extras["rows"]) == [{"a": 1}, {"a": 2}]
    assert run.end.metrics["auc"] == 0.5
    summary = run.files.summary()
    assert summary is not None
    assert summary.metrics["loss"] == 1 / 3


def test_what_a_failed_step_told_before_is_kept(store: Store) -> None:
    def tell() -> None:
        c.log_metric("loss", 2)
        raise ValueError

    assert drive(flow(step("a")), {"a": tell}, store).records["a", ()].metrics == {"loss": 2}


def test_threads_of_a_step_can_tell_too(store: Store) -> None:
    def tell() -> None:
        threads = [threading.Thread(target=c.log_metric, args=("n", i)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    record = drive(flow(step("a", kind="none", outputs="")), {"a": tell}, store).records["a", ()]
    assert sorted(value for _, value in record.series["n"]) == [0, 1, 2, 3]


def test_a_checkpoint_is_there_in_the_next_attempt(store: Store) -> None:
    def work() -> list[int]:
        done = c.checkpoint().load([])
        done.append(c.context().attempt)
        c.checkpoint().save(done)
        if c.context().attempt < 2:
            raise RuntimeError
        return c.checkpoint().load()  # type: ignore[no-any-return]

    assert drive(flow(step("a", retries=2), result=out("a")), {"a": work}, store).result() == [0, 1, 2]


def test_outside_of_a_run_there_is_no_context_and_logging_only_checks() -> None:
    with pytest.raises(c.NoContextError, match="plain function"):
        c.context()
    with pytest.raises(c.NoContextError, match="plain function"):
        c.checkpoint()
    c.log_metric("x", 1, step=2)
    c.log_param("x", object())
    c.log_figure("x", b"")
    c.log_table("x", [{"a": 1}])
    with pytest.raises(TypeError, match=r"log_metric\('x', ...\) takes a number, not 'high'"):
        c.log_metric("x", "high")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes a name first"):
        c.log_param("", 1)
    with pytest.raises(TypeError, match="matplotlib figure, a path or bytes, not a int"):
        c.log_figure("x", 3)
    with pytest.raises(TypeError, match="not a list"):
        c.log_table("x", [1])
