"""Which records are handed to a task, so that it need not read them."""

from __future__ import annotations

from flowbridge.engine.recent import Recent
from flowbridge.engine.scheduler import Task
from flowbridge.records.models import TaskRecord

from .runs import flow, item, out, over, step


def record(name: str, *index: int, final: bool = True) -> TaskRecord:
    return TaskRecord(step=name, index=index, state="done", finished=1.0, final=final)


GRAPH = flow(
    step("a"),
    over("m", out("a")),
    step("b", scope=("m",), inputs={"x": item("m"), "y": out("a")}),
    step("c", scope=("m",), inputs={"x": out("b")}),
    step("d", inputs={"xs": out("c")}),
)


def test_what_a_task_reads_one_record_of_is_known_to_it() -> None:
    recent = Recent(GRAPH)
    for name, index in (("a", ()), ("m", ()), ("b", (3,)), ("b", (4,)), ("c", (3,))):
        recent.keep(record(name, *index), f"{name}{list(index)}".encode())
    assert set(recent.known_to(Task("b", (3,)))) == {b"a[]", b"m[]"}
    assert set(recent.known_to(Task("c", (3,)))) == {b"m[]", b"b[3]"}
    assert recent.known_to(Task("d", ())) == (), "a collected list is read from the store"


def test_only_final_and_small_records_are_kept() -> None:
    recent = Recent(GRAPH)
    recent.keep(record("a", final=False), b"x")
    recent.keep(record("m"), b"x" * 100_000)
    assert recent.known_to(Task("b", (0,))) == ()


def test_the_oldest_are_forgotten() -> None:
    recent = Recent(GRAPH)
    for i in range(2000):
        recent.keep(record("b", i), b"x")
    assert recent.known_to(Task("c", (0,))) == ()
    assert recent.known_to(Task("c", (1999,))) == (b"x",)
