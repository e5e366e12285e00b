"""The scheduler against a naive reading of the rules, on flows made by chance."""

from __future__ import annotations

import cProfile
import random
import tracemalloc
from collections import Counter, deque
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowbridge.engine.scheduler import Scheduler, Task
from flowbridge.ir import bindings as b
from flowbridge.ir.control import MapNode
from flowbridge.ir.flow import CodeRef, FlowGraph, StepNode
from flowbridge.ir.graph import dependencies
from flowbridge.ir.policies import Retry
from flowbridge.ir.resources import Resources
from flowbridge.records.models import Reason, TaskRecord

from .naive import Key, Naive, flows

CODE = CodeRef(module="m", qualname="f")


def record(task: Task, outcome: str = "done", *, count: int | None = None, final: bool = True) -> TaskRecord:
    state = "failed" if outcome == "allowed" else outcome
    reason = None if state == "done" else Reason(kind="error", message="by chance")
    return TaskRecord(
        step=task.step, index=task.index, attempt=task.attempt, state=state, allowed=outcome == "allowed",  # type: ignore[arg-type]
        finished=0.0, count=count, final=final, reason=reason,
    )  # fmt: skip


class Play:
    """Runs a scheduler with as many tasks at once as asked, each ending as `outcome` says, in an order by chance."""

    def __init__(self, graph: FlowGraph, outcome: Callable[..., str], count: Callable[..., int], *, seed: int = 0, width: int = 3) -> None:
        self.graph, self.outcome, self.count = graph, outcome, count
        self.chance = random.Random(seed)
        self.width = width
        self.scheduler = Scheduler(graph)
        self.ended: dict[Key, str] = {}
        self.launched: list[Task] = []
        self.running: list[Task] = []
        self.open_items: Counter[tuple[str, tuple[int, ...]]] = Counter()

    def run(self) -> Play:
        while True:
            self.hear()
            if self.scheduler.finished:
                return self
            self.launch()
            assert self.running, "nothing is running and the run is not over"
            self.finish(self.running.pop(self.chance.randrange(len(self.running))))

    def hear(self) -> None:
        while self.scheduler.verdicts:
            verdict = self.scheduler.verdicts.popleft()
            for index in verdict.indices():
                assert (verdict.step, index) not in self.ended, "a task was decided twice"
                self.ended[verdict.step, index] = verdict.state
                assert verdict.cause

    def launch(self) -> None:
        while len(self.running) < self.width:
            classes = self.scheduler.classes()
            if not classes:
                return
            peeked = self.scheduler.peek(classes[0])
            task = self.scheduler.take(classes[0])
            assert peeked == task
            self.check_ready(task)
            self.running.append(task)
            self.launched.append(task)

    def check_ready(self, task: Task) -> None:
        """Everything the task depends on has ended."""
        node = self.graph.node(task.step)
        for depth, enclosing in enumerate(node.scope):
            assert self.ended[enclosing, task.index[:depth]] == "done"
        for name in dependencies(node):
            other = self.graph.node(name)
            if name in node.scope:
                continue
            shared = 0
            while shared < min(len(node.scope), len(other.scope)) and node.scope[shared] == other.scope[shared]:
                shared += 1
            missing = [k for k in self.expected if k[0] == name and k[1][:shared] == task.index[:shared] and k not in self.ended]
            assert not missing, f"{task} began before {missing}"

    @property
    def expected(self) -> dict[Key, tuple[str, bool]]:
        if not hasattr(self, "_expected"):
            self._expected = Naive(self.graph, self.outcome, self.count).all_tasks()
        return self._expected

    def finish(self, task: Task) -> None:
        outcome = self.outcome(task.step, task.index)
        count = self.count(task.step, task.index) if task.step in self.graph.maps_by_id and outcome == "done" else None
        self.ended[task.step, task.index] = outcome
        self.scheduler.on(record(task, outcome, count=count), 0.0)


def by_chance(seed: int, weights: tuple[int, int, int, int]) -> Callable[[str, tuple[int, ...]], str]:
    def outcome(step: str, index: tuple[int, ...]) -> str:
        chance = random.Random(f"{seed}{step}{index}")
        return chance.choices(["done", "skipped", "failed", "allowed"], weights)[0]

    return outcome


def count_by_chance(seed: int) -> Callable[[str, tuple[int, ...]], int]:
    return lambda step, index: random.Random(f"{seed}{step}{index}#").randrange(4)


@settings(max_examples=300, deadline=None)
@given(
    graph=flows(), seed=st.integers(0, 10**6), width=st.integers(1, 5), faults=st.sampled_from([(1, 0, 0, 0), (8, 1, 1, 1), (2, 1, 1, 1)])
)
def test_every_task_ends_as_the_rules_say(graph: FlowGraph, seed: int, width: int, faults: tuple[int, int, int, int]) -> None:
    play = Play(graph, by_chance(seed, faults), count_by_chance(seed), seed=seed, width=width).run()
    expected = play.expected
    assert play.ended == {key: state for key, (state, _) in expected.items()}
    assert sorted(t.key for t in play.launched) == sorted(key for key, (_, launched) in expected.items() if launched)


# --- rules one by one --------------------------------------------------------------------------------------------------------


def step(name: str, *needs: str, scope: tuple[str, ...] = (), **about: object) -> StepNode:
    inputs = tuple((f"x{i}", b.FromStep(step=n, output="result")) for i, n in enumerate(needs))
    return StepNode(id=name, name=name, code=CODE, inputs=inputs, scope=scope, **about)  # type: ignore[arg-type]


def a_map(name: str, *, scope: tuple[str, ...] = (), over: str | None = None, **about: object) -> MapNode:
    source = b.FromStep(step=over, output="result") if over else b.Constant(value=[])
    return MapNode(id=name, scope=scope, sources=(("item", source),), **about)  # type: ignore[arg-type]


def ready(scheduler: Scheduler) -> list[Task]:
    """Take everything that is ready, most urgent first."""
    found = []
    while classes := scheduler.classes():
        found.append(scheduler.take(classes[0]))
    return found


def expanded(graph: FlowGraph, name: str, count: int) -> Scheduler:
    scheduler = Scheduler(graph)
    (task,) = ready(scheduler)
    assert task == Task(name, (), 0)
    scheduler.on(record(task, count=count), 0.0)
    return scheduler


def test_the_critical_path_comes_first() -> None:
    graph = FlowGraph(name="f", steps=(step("short"), step("a"), step("b", "a"), step("c", "b"), step("middle"), step("m2", "middle")))
    assert [t.step for t in ready(Scheduler(graph))] == ["a", "middle", "short"]


def test_an_item_is_carried_to_its_end_before_further_ones_begin() -> None:
    graph = FlowGraph(name="f", steps=(step("a", scope=("m",)), step("b", "a", scope=("m",))), maps=(a_map("m"),))
    scheduler = expanded(graph, "m", 1000)
    first, second = (scheduler.take(scheduler.classes()[0]) for _ in range(2))
    scheduler.on(record(second), 0.0)
    assert [t.key for t in (first, second)] == [("a", (0,)), ("a", (1,))]
    assert [scheduler.take(scheduler.classes()[0]).key for _ in range(2)] == [("b", (1,)), ("a", (2,))]


def test_parallel_limits_items_not_tasks() -> None:
    steps = (step("a", scope=("m",)), step("a2", scope=("m",)), step("b", "a", "a2", scope=("m",)))
    scheduler = expanded(FlowGraph(name="f", steps=steps, maps=(a_map("m", parallel=2),)), "m", 5)
    at_first = ready(scheduler)
    assert sorted(t.key for t in at_first) == [("a", (0,)), ("a", (1,)), ("a2", (0,)), ("a2", (1,))]
    for task in at_first:
        scheduler.on(record(task), 0.0)
    (b0, b1) = ready(scheduler)
    assert (b0.key, b1.key) == (("b", (0,)), ("b", (1,)))
    scheduler.on(record(b1), 0.0)
    assert sorted(t.key for t in ready(scheduler)) == [("a", (2,)), ("a2", (2,))]


@pytest.mark.parametrize("parallel", [1, 2, 3])
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_never_more_items_at_once_than_parallel(parallel: int, seed: int) -> None:
    chance = random.Random(seed)
    steps = (step("a", scope=("m",)), step("b", "a", scope=("m",)), step("c", "a", scope=("m",)))
    scheduler = expanded(FlowGraph(name="f", steps=steps, maps=(a_map("m", parallel=parallel),)), "m", 12)
    running: list[Task] = []
    ended: Counter[tuple[int, ...]] = Counter()
    begun: set[tuple[int, ...]] = set()
    while not scheduler.finished:
        running += ready(scheduler)
        begun |= {t.index for t in running}
        assert sum(ended[i] < len(steps) for i in begun) <= parallel
        task = running.pop(chance.randrange(len(running)))
        ended[task.index] += 1
        scheduler.on(record(task, chance.choice(["done", "done", "skipped"])), 0.0)
        while scheduler.verdicts:
            ended.update(scheduler.verdicts.popleft().indices())


def test_a_retry_waits_for_its_delay_which_grows() -> None:
    retry = Retry(retries=3, delay=10, backoff=2)
    scheduler = Scheduler(FlowGraph(name="f", steps=(step("a", retry=retry),)))
    for attempt, delay in enumerate([10, 20, 40]):
        (task,) = ready(scheduler)
        assert task.attempt == attempt
        scheduler.on(record(task, "failed", final=False), 100.0)
        scheduler.wake(100.0 + delay - 0.001)
        assert scheduler.next_due() == 100.0 + delay
        assert not ready(scheduler)
        scheduler.wake(100.0 + delay)
    (task,) = ready(scheduler)
    assert task.attempt == 3
    scheduler.on(record(task), 0.0)
    assert scheduler.finished


def test_a_retry_inside_a_map_keeps_its_item() -> None:
    graph = FlowGraph(name="f", steps=(step("a", scope=("m",), retry=Retry(retries=1)),), maps=(a_map("m", parallel=1),))
    scheduler = expanded(graph, "m", 2)
    (task,) = ready(scheduler)
    scheduler.on(record(task, "failed", final=False), 0.0)
    assert ready(scheduler) == [Task("a", (0,), 1)]


def test_stop_lets_nothing_more_start() -> None:
    scheduler = Scheduler(FlowGraph(name="f", steps=(step("a"), step("b"), step("c", "a", retry=Retry(retries=1, delay=1)))))
    a = scheduler.take(scheduler.classes()[0])
    scheduler.stop()
    assert not scheduler.classes()
    assert not scheduler.finished
    scheduler.on(record(a), 0.0)
    assert not scheduler.classes()
    assert scheduler.finished


def test_batches_are_the_units_of_a_map() -> None:
    scheduler = expanded(FlowGraph(name="f", steps=(step("a", scope=("m",)),), maps=(a_map("m", batch=3),)), "m", 7)
    assert [t.index for t in ready(scheduler)] == [(0,), (1,), (2,)]


def test_the_cause_is_named() -> None:
    graph = FlowGraph(name="f", steps=(step("a"), step("b", "a"), step("c", "b")))
    scheduler = Scheduler(graph)
    scheduler.on(record(ready(scheduler)[0], "failed"), 0.0)
    assert [(v.step, v.state, v.cause) for v in scheduler.verdicts] == [("b", "cancelled", "a"), ("c", "cancelled", "b")]
    assert [v.how for v in scheduler.verdicts] == ["failed", "cancelled"]


def test_a_cancelled_cause_is_not_said_to_have_failed() -> None:
    scheduler = Scheduler(FlowGraph(name="f", steps=(step("a"), step("b", "a"))))
    scheduler.on(record(ready(scheduler)[0], "cancelled"), 0.0)
    assert [(v.step, v.cause, v.how) for v in scheduler.verdicts] == [("b", "a", "cancelled")]


def test_a_list_waits_for_what_decides_whether_it_is_skipped_as_a_whole() -> None:
    """`work.map(each([]), y=slow)` is skipped if `slow` is, so whoever takes its list must wait for `slow`, although there are no items."""
    graph = FlowGraph(name="f", steps=(step("slow"), step("work", "slow", scope=("m",)), step("take", "work")), maps=(a_map("m"),))
    scheduler = Scheduler(graph)
    tasks = {t.step: t for t in ready(scheduler)}
    scheduler.on(record(tasks["m"], count=0), 0.0)
    assert not ready(scheduler)
    scheduler.on(record(tasks["slow"]), 0.0)
    assert [t.step for t in ready(scheduler)] == ["take"]


def test_one_class_per_kind_of_resources() -> None:
    """Tasks that are admitted alike stand in one queue, so a thousand waiting steps cost one look."""
    steps = tuple(step(f"s{i}", resources=Resources(cpu=1 + i % 2)) for i in range(1000))
    assert len(Scheduler(FlowGraph(name="f", steps=steps)).classes()) == 2


# --- cost --------------------------------------------------------------------------------------------------------------------


def test_a_large_map_is_held_in_bytes_not_objects() -> None:
    """The driver of a 100,000-item map must not hold an object per item; in the queue a step stands once."""
    graph = FlowGraph(name="f", steps=(step("a", scope=("m",)), step("b", "a", scope=("m",)), step("c", "b")), maps=(a_map("m"),))
    scheduler = expanded(graph, "m", 100_000)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(20_000):
        for task in [scheduler.take(scheduler.classes()[0]) for _ in range(2)]:
            scheduler.on(record(task), 0.0)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 200_000
    assert sum(len(queue) for queue in scheduler._queues.values()) < 10
    assert not scheduler.finished


def steps_taken(items: int) -> float:
    """Return how many Python function calls the scheduler makes per task of a map."""
    graph = FlowGraph(
        name="f", steps=(step("a", scope=("m",)), step("b", "a", scope=("m",)), step("c", "b")), maps=(a_map("m", parallel=4),)
    )
    scheduler = expanded(graph, "m", items)
    profile = cProfile.Profile()
    count = 0
    running: deque[Task] = deque()
    while not scheduler.finished:
        profile.enable()
        classes = scheduler.classes()
        if classes and len(running) < 4:
            running.append(scheduler.take(classes[0]))
            profile.disable()
            continue
        profile.disable()
        done = record(running.popleft())
        count += 1
        profile.enable()
        scheduler.on(done, 0.0)
        profile.disable()
    return sum(entry.callcount for entry in profile.getstats()) / count  # type: ignore[attr-defined]


def test_the_cost_of_a_task_does_not_grow_with_the_run() -> None:
    assert steps_taken(3000) < 1.1 * steps_taken(300)


def test_a_long_chain_of_skips_needs_no_deep_stack() -> None:
    names = [f"s{i}" for i in range(3000)]
    steps = [step(names[0]), *(step(name, before) for before, name in pairwise(names))]
    scheduler = Scheduler(FlowGraph(name="f", steps=tuple(steps)))
    scheduler.on(record(ready(scheduler)[0], "skipped"), 0.0)
    assert scheduler.finished
    assert len(scheduler.verdicts) == 2999


def test_a_large_blocked_map_is_one_verdict() -> None:
    graph = FlowGraph(name="f", steps=(step("bad"), step("a", "bad", scope=("m",))), maps=(a_map("m"),))
    scheduler = Scheduler(graph)
    tasks = {t.step: t for t in ready(scheduler)}
    scheduler.on(record(tasks["m"], count=100_000), 0.0)
    scheduler.on(record(tasks["bad"], "failed"), 0.0)
    assert scheduler.finished
    (verdict,) = scheduler.verdicts
    assert (verdict.step, verdict.first, verdict.last, verdict.state, verdict.cause) == ("a", 0, 99_999, "cancelled", "bad")
