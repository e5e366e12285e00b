"""What is known of a run while it goes on, from events alone."""

import io
import time

import pytest
from rich.console import Console

from flowbridge.cli.live import LiveView
from flowbridge.cli.plain import PlainView
from flowbridge.cli.printing import length, size
from flowbridge.cli.progress import Progress
from flowbridge.records.models import Reason, TaskRecord, TaskStarted
from tests.unit.client.steps import doubling

GRAPH = doubling.graph().graph
(MAP,) = GRAPH.maps


def started(step, *index, at=0.0, attempt=0):
    return TaskStarted(step=step, index=index, attempt=attempt, started=at)


def ended(step, *index, at=1.0, since=0.0, state="done", **about):
    return TaskRecord(step=step, index=index, state=state, started=since, finished=at, **about)


def expanded(count):
    return TaskRecord(step=MAP.id, state="done", finished=1.0, count=count)


@pytest.fixture
def progress():
    return Progress(GRAPH, typical={"numbers": 1.0, "double": 2.0, "summarise": 1.0})


def steps(progress):
    return {s.step: s for s in progress.look()}


def test_before_anything(progress):
    assert {s.step: (s.state, s.total) for s in progress.look()} == {
        "numbers": ("pending", 1),
        "double": ("pending", None),
        "summarise": ("pending", 1),
    }


def test_a_map_gets_its_total_when_it_is_expanded(progress):
    progress.hear(expanded(4))
    progress.hear(expanded(4))  # told twice, counted once
    assert steps(progress)["double"].total == 4


def test_running_and_over(progress):
    progress.hear(expanded(3))
    progress.hear(started("double", 0))
    progress.hear(started("double", 1))
    progress.hear(ended("double", 0))
    double = steps(progress)["double"]
    assert (double.state, double.over, len(double.running)) == ("running", 1, 1)
    progress.hear(ended("double", 1, state="failed"))
    progress.hear(ended("double", 2))
    double = steps(progress)["double"]
    assert (double.state, double.over, dict(double.ended)) == ("failed", 3, {"done": 2, "failed": 1})
    assert [r.step for r in progress.failed] == ["double"]


def test_an_attempt_that_is_tried_again_is_not_over(progress):
    progress.hear(started("numbers"))
    progress.hear(ended("numbers", state="failed", final=False))
    numbers = steps(progress)["numbers"]
    assert (numbers.over, numbers.retries, numbers.state) == (0, 1, "pending")
    progress.hear(started("numbers", attempt=1))
    progress.hear(ended("numbers", attempt=1))
    assert steps(progress)["numbers"].state == "done"


def test_waiting_names_the_resource():
    progress = Progress(GRAPH, waiting=lambda: {"numbers": ("memory",)})
    assert (steps(progress)["numbers"].state, steps(progress)["numbers"].waits_for) == ("waiting", ("memory",))
    progress.hear(started("numbers"))
    assert steps(progress)["numbers"].state == "running"


def test_time_left(progress):
    progress.hear(ended("numbers"))
    progress.hear(expanded(4))
    progress.hear(started("double", 0))
    progress.hear(started("double", 1))
    double = steps(progress)["double"]
    assert progress.left_of(double, now=0.0) == 4.0  # four tasks of two seconds, two at once
    assert progress.left(now=0.0) == pytest.approx((4 * 2.0 + 1.0) / 2)
    assert Progress(GRAPH).left(now=0.0) is None


def test_time_left_goes_down_while_tasks_run(progress):
    progress.hear(ended("numbers"))
    progress.hear(expanded(4))
    progress.hear(started("double", 0, at=10.0))
    progress.hear(started("double", 1, at=10.5))
    double = steps(progress)["double"]
    assert progress.left_of(double, now=11.0) == pytest.approx((1.0 + 1.5 + 2 * 2.0) / 2)
    assert progress.left(now=11.0) == pytest.approx((1.0 + 1.5 + 2 * 2.0 + 1.0) / 2)
    assert progress.left_of(double, now=100.0) == pytest.approx(2.0), "what runs over its time takes no time off the others"


def test_an_empty_map_is_over(progress):
    progress.hear(expanded(0))
    assert steps(progress)["double"].state == "skipped"


def drawn(progress, width=100, height=40):
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(LiveView(progress, console).draw())
    return console.file.getvalue()


def test_drawing(progress):
    progress.hear(ended("numbers"))
    progress.hear(expanded(4))
    progress.hear(started("double", 0))
    progress.hear(ended("double", 1, state="failed"))
    text = drawn(progress)
    assert "✓  numbers" in text
    assert "1/4" in text
    assert "1 failed, 1 running" in text
    assert "2 tasks over, 1 running" in text


def test_drawing_names_what_is_waited_for():
    assert "waiting for cpu and memory" in drawn(Progress(GRAPH, waiting=lambda: {"numbers": ("cpu", "memory")}))


def test_drawing_tells_how_many_of_a_map_wait_while_others_run():
    progress = Progress(GRAPH, typical={"double": 2.0}, waiting=lambda: {"double": ("cpu",)})
    progress.hear(expanded(5))
    progress.hear(started("double", 0, at=time.time()))
    progress.hear(started("double", 1, at=time.time()))
    text = drawn(progress)
    assert "2 running, 3 waiting for cpu" in text
    assert "the longest" not in text


def test_drawing_tells_of_a_task_that_takes_longer_than_others(progress):
    progress.hear(expanded(2))
    progress.hear(started("double", 0, at=time.time() - 100))
    assert "1 running, the longest 1m 40s" in drawn(progress)


def test_drawing_fits_the_terminal():
    from flowbridge.ir.flow import FlowGraph, StepNode

    long = Progress(FlowGraph(name="long", steps=tuple(StepNode(id=f"s{i}", name=f"s{i}") for i in range(300))))
    for i in range(100):
        long.hear(ended(f"s{i}"))
    long.hear(started("s250"))
    text = drawn(long, height=20)
    assert len(text.splitlines()) <= 20
    assert "s250" in text
    assert "more steps" in text


def test_lines(progress, capsys):
    view = PlainView(progress)
    with view:
        view.hear(started("numbers"))
        view.hear(ended("numbers"))
        view.hear(expanded(2))
        view.hear(started("double", 0))
        view.hear(started("double", 1))
        view.hear(ended("double", 0, state="failed", final=False, reason=Reason(kind="error", message="ValueError: no")))
        view.hear(ended("double", 0))
        view.hear(ended("double", 1, state="failed", reason=Reason(kind="error", message="ValueError: no")))
        view.hear(ended("summarise", state="cancelled", reason=Reason(kind="upstream", message="not run, because double/1 failed")))
    lines = [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "numbers started",
        "numbers done in 1.0s",
        "double started (2 tasks)",
        "double/0 failed: ValueError: no; attempt 1, it is tried again",
        "double/1 failed: ValueError: no",
        "double over: 1 done, 1 failed in 1.0s",
        "summarise cancelled: not run, because double/1 failed",
    ]


def test_a_large_map_is_told_in_a_few_lines(progress, capsys):
    view = PlainView(progress)
    view.hear(expanded(2000))
    for i in range(2000):
        view.hear(started("double", i))
        view.hear(ended("double", i))
    assert len(capsys.readouterr().out.splitlines()) < 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.04, "0.0s"), (9.94, "9.9s"), (12.3, "12s"), (185, "3m 05s"), (7800, "2h 10m"), (90000, "1d 1h")],
)
def test_lengths(seconds, text):
    assert length(seconds) == text


def test_sizes():
    assert size(None) == "-"
    assert size(2**30) == "1Gi"


def test_one_task_is_told_as_one(progress):
    progress.hear(ended("numbers", at=1.0))
    drawn = io.StringIO()
    Console(file=drawn, width=100).print(LiveView(progress, Console(file=io.StringIO(), height=40)).draw())
    assert "1 task over," in drawn.getvalue()
