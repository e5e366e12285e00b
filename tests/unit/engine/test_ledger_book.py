"""Who may take what next, without files and processes: a simulated machine, a simulated clock."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowbridge.engine.capacity import Capacity
from flowbridge.engine.ledger_book import GPU_UNIT, PATIENCE, Book, Entry, Need, Room, decide, totals
from flowbridge.ir.resources import Resources

GIB = 2**30
MACHINE = Capacity(cpu=4, memory=16 * GIB, gpus=("0", "1"), gpu_kinds=("NVIDIA A100-SXM4-40GB", "Tesla T4"), custom={"license": 2})


@dataclass
class Machine:
    """Leases and waits as processes would make them."""

    capacity: Capacity = MACHINE
    book: Book = field(default_factory=Book)
    now: float = 1000.0
    made: int = 0

    def ask(self, run: str, task: str, resources: Resources, nodes: int = 1) -> Entry | None:
        """Request, waiting in the queue if there is no room."""
        need = Need.of(resources, nodes, self.capacity)
        asker = next((e for e in self.book.waits.values() if (e.run, e.task) == (run, task)), None)
        if asker is None:
            self.made += 1
            asker = Entry(f"w{self.made}", run, run, task, need, (), self.now)
        gpus = decide(self.book, self.capacity, asker, self.now)
        if gpus is None:
            self.book.waits[asker.id] = asker
            return None
        self.book.waits.pop(asker.id, None)
        lease = asker._replace(id=f"l{asker.id}", gpus=gpus, at=self.now)
        self.book.leases[lease.id] = lease
        return lease

    def give_back(self, lease: Entry) -> None:
        del self.book.leases[lease.id]


def test_what_is_not_declared_is_one_core() -> None:
    machine = Machine()
    leases = [machine.ask("a", str(i), Resources()) for i in range(5)]
    assert [lease is not None for lease in leases] == [True] * 4 + [False]


def test_on_less_than_a_core_an_undeclared_task_takes_all() -> None:
    machine = Machine(Capacity(cpu=0.5, memory=GIB))
    assert machine.ask("a", "1", Resources()) is not None
    assert machine.ask("a", "2", Resources()) is None


def test_two_that_want_most_of_the_memory_take_turns() -> None:
    machine = Machine()
    first = machine.ask("a", "1", Resources(memory=11 * GIB))
    assert first is not None
    assert machine.ask("b", "1", Resources(memory=11 * GIB)) is None
    machine.give_back(first)
    assert machine.ask("a", "2", Resources(memory=11 * GIB)) is None, "b has waited"
    assert machine.ask("b", "1", Resources(memory=11 * GIB)) is not None


def test_small_ones_pass_a_large_one_where_that_takes_nothing_from_it() -> None:
    machine = Machine()
    assert machine.ask("a", "holds", Resources(cpu=1, memory=10 * GIB)) is not None
    assert machine.ask("b", "large", Resources(cpu=1, memory=10 * GIB)) is None
    assert machine.ask("a", "cpu only", Resources(cpu=3)) is not None, "memory is short, cores are not"
    assert machine.ask("a", "memory too", Resources(cpu=0.001, memory=GIB)) is None, "that would take from what it waits for"


def test_after_a_while_all_that_a_large_one_asks_for_is_kept() -> None:
    machine = Machine()
    assert machine.ask("a", "holds", Resources(cpu=1, memory=10 * GIB)) is not None
    assert machine.ask("b", "large", Resources(cpu=2, memory=10 * GIB)) is None
    machine.now += PATIENCE + 1
    assert machine.ask("a", "too much", Resources(cpu=2)) is None
    assert machine.ask("a", "beside", Resources(cpu=1)) is not None


def test_cpu_tasks_run_beside_a_gpu_task_that_waits() -> None:
    machine = Machine()
    assert machine.ask("a", "gpus", Resources(gpu=2)) is not None
    assert machine.ask("b", "gpu", Resources(gpu=1)) is None
    machine.now += PATIENCE / 2
    assert machine.ask("a", "cpu", Resources(cpu=1)) is not None


def test_runs_that_hold_less_come_first() -> None:
    machine = Machine()
    held = [machine.ask("a", str(i), Resources()) for i in range(4)]
    assert machine.ask("a", "more", Resources()) is None
    machine.now += 1
    assert machine.ask("b", "first", Resources()) is None
    assert held[0] is not None
    machine.give_back(held[0])
    assert machine.ask("a", "more", Resources()) is None
    assert machine.ask("b", "first", Resources()) is not None


def test_who_has_waited_long_comes_before_who_holds_little() -> None:
    machine = Machine()
    held = [machine.ask("a", str(i), Resources()) for i in range(4)]
    assert machine.ask("a", "old", Resources()) is None
    machine.now += PATIENCE + 1
    assert machine.ask("b", "new", Resources()) is None
    assert held[0] is not None
    machine.give_back(held[0])
    assert machine.ask("b", "new", Resources()) is None
    assert machine.ask("a", "old", Resources()) is not None


def test_shares_of_a_gpu_fill_one_before_the_next() -> None:
    machine = Machine()
    leases = [machine.ask("a", str(i), Resources(cpu=0.1, gpu=0.5)) for i in range(5)]
    assert [lease.gpus for lease in leases if lease] == [("0",), ("0",), ("1",), ("1",)]
    assert leases[4] is None


def test_three_thirds_of_a_gpu_are_one() -> None:
    machine = Machine(Capacity(cpu=4, memory=GIB, gpus=("0",)))
    assert all(machine.ask("a", str(i), Resources(cpu=0.1, gpu=1 / 3)) is not None for i in range(3))
    assert machine.ask("a", "4", Resources(cpu=0.1, gpu=0.1)) is None


def test_a_whole_gpu_is_not_one_that_is_shared() -> None:
    machine = Machine()
    assert machine.ask("a", "half", Resources(gpu=0.5)) is not None
    whole = machine.ask("a", "whole", Resources(gpu=1))
    assert whole is not None
    assert whole.gpus == ("1",)
    assert machine.ask("a", "another", Resources(gpu=1)) is None


def test_a_type_of_gpu_is_kept_to() -> None:
    machine = Machine()
    lease = machine.ask("a", "1", Resources(gpu=1, gpu_type="t4"))
    assert lease is not None
    assert lease.gpus == ("1",)
    assert machine.ask("a", "2", Resources(gpu=1, gpu_type="nvidia-tesla-t4")) is None
    other = machine.ask("a", "3", Resources(gpu=1, gpu_type="A100"))
    assert other is not None, "the one that waits for a T4 needs no A100"
    assert other.gpus == ("0",)


def test_a_gang_takes_all_its_nodes_at_once_or_none() -> None:
    machine = Machine()
    single = machine.ask("a", "single", Resources(gpu=1))
    assert single is not None
    assert machine.ask("b", "gang", Resources(cpu=1, gpu=1), nodes=2) is None
    assert machine.ask("a", "late", Resources(gpu=1)) is None, "the second GPU is kept for the gang"
    machine.give_back(single)
    gang = machine.ask("b", "gang", Resources(cpu=1, gpu=1), nodes=2)
    assert gang is not None
    assert sorted(gang.gpus) == ["0", "1"]


def test_named_resources_are_counted() -> None:
    machine = Machine()
    asked = Resources(cpu=0.1, custom=(("license", 1.0),))
    assert machine.ask("a", "1", asked) is not None
    assert machine.ask("a", "2", asked) is not None
    assert machine.ask("a", "3", asked) is None
    assert Room(machine.book, MACHINE).lacking(Need.of(asked, 1, MACHINE)) == ["custom:license"]


@pytest.mark.parametrize(
    "line", [["take"], ["wait", "x", 1], ["take", "l", "o", "r", "t", [[["cpu", "x"]], 0, 0, ""], [], 1], ["new thing", 1], []]
)
def test_events_that_make_no_sense_are_passed_over(line: list[object]) -> None:
    book = Book()
    book.apply([["own", "o", 1, 2, "u"], line, ["take", "l", "o", "r", "t", [[["cpu", 1000]], 0, 0, ""], [], 1.0]])
    assert set(book.leases) == {"l"}


def test_a_snapshot_adds_up_to_the_same() -> None:
    machine = Machine()
    machine.book.apply([["own", "a", 1, 2, "u"], ["own", "idle", 1, 2, "u"]])
    for i in range(6):
        machine.ask("a", str(i), Resources(gpu=0.5, custom=(("license", 0.5),)))
    again = Book()
    again.apply(machine.book.snapshot())
    assert (again.leases, again.waits) == (machine.book.leases, machine.book.waits)
    assert set(again.owners) == {"a"}


def test_who_asks_for_more_than_there_is_holds_up_nobody() -> None:
    machine = Machine()
    need = Need.of(Resources(cpu=99), 1, MACHINE)
    machine.book.waits["other"] = Entry("other", "z", "z", "t", need, (), machine.now - 10 * PATIENCE)
    assert machine.ask("a", "1", Resources(cpu=4)) is not None


RESOURCES = st.builds(
    Resources,
    cpu=st.sampled_from([None, 0.5, 1, 2, 4]),
    memory=st.sampled_from([None, GIB, 5 * GIB, 16 * GIB]),
    gpu=st.sampled_from([None, None, 0.25, 0.5, 1, 2]),
    custom=st.sampled_from([(), (("license", 1.0),), (("license", 2.0),)]),
)


def _over(machine: Machine) -> list[str]:
    """Return what has been given twice."""
    used: dict[str, int] = {}
    for lease in machine.book.leases.values():
        for name, amount in (*lease.need.amounts, *((f"gpu {g}", lease.need.size) for g in lease.gpus)):
            used[name] = used.get(name, 0) + amount
    there = {**totals(machine.capacity), **{f"gpu {g}": GPU_UNIT for g in machine.capacity.gpus}}
    return [name for name, amount in used.items() if amount > there[name]]


@settings(max_examples=150, deadline=None)
@given(tasks=st.lists(st.tuples(st.sampled_from("abc"), RESOURCES, st.integers(1, 5)), min_size=1, max_size=40), seed=st.integers(0, 99))
def test_nothing_is_given_twice_and_everyone_is_served(tasks: list[tuple[str, Resources, int]], seed: int) -> None:
    machine, order = Machine(), random.Random(seed)
    left = {f"{i}": task for i, task in enumerate(tasks)}
    running: list[tuple[float, Entry]] = []
    deadline = machine.now + sum(t[2] for t in tasks) + 1
    while left or running:
        for name in order.sample(sorted(left), len(left)):
            run, resources, length = left[name]
            lease = machine.ask(run, name, resources)
            if lease is not None:
                del left[name]
                running.append((machine.now + length, lease))
        assert not _over(machine)
        machine.now = min(end for end, _ in running)  # fails if all wait and none runs
        for end, lease in list(running):
            if end <= machine.now:
                running.remove((end, lease))
                machine.give_back(lease)
        assert machine.now <= deadline, "slower than one after the other"


@settings(max_examples=60, deadline=None)
@given(large=RESOURCES, small=st.lists(RESOURCES, min_size=1, max_size=6), seed=st.integers(0, 99))
def test_no_request_starves_though_small_ones_never_stop_coming(large: Resources, small: list[Resources], seed: int) -> None:
    machine, order, longest = Machine(), random.Random(seed), 3
    running: list[tuple[float, Entry]] = []
    asked: float | None = None
    names = 0
    waiting: dict[str, tuple[str, Resources]] = {}
    for _ in range(500):
        machine.now += 0.5
        for end, lease in list(running):
            if end <= machine.now:
                running.remove((end, lease))
                machine.give_back(lease)
        while len(waiting) < 6:
            names += 1
            waiting[f"s{names}"] = (order.choice("abc"), order.choice(small))
        for name in order.sample(sorted(waiting), len(waiting)):
            run, resources = waiting[name]
            lease = machine.ask(run, name, resources)
            if lease is not None:
                del waiting[name]
                running.append((machine.now + order.randint(1, longest), lease))
        if machine.now < 1010:
            continue
        asked = asked or machine.now
        if machine.ask("z", "large", large) is not None:
            return
        assert machine.now - asked < 2 * PATIENCE + 10 * longest
    raise AssertionError


def test_who_can_never_be_served_here_holds_up_nobody() -> None:
    """Another process may believe in a larger machine, by its own configuration; what it asks for must not stop this one's queue."""
    machine = Machine()
    machine.book.waits["w0"] = Entry("w0", "b", "b", "huge", Need.of(Resources(cpu=64), 1, Capacity(cpu=64, memory=GIB)), (), 0.0)
    machine.now += PATIENCE + 1
    assert machine.ask("a", "1", Resources(cpu=4)) is not None
