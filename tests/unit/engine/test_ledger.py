"""The account as processes use it. A process here is a real one; the machine is declared."""

from __future__ import annotations

import fcntl
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from flowbridge.engine import ledger, ledger_file
from flowbridge.engine.capacity import ImpossibleRequestError
from flowbridge.engine.ledger import Account
from flowbridge.engine.ledger_places import Waker
from flowbridge.errors import ConfigError
from flowbridge.ir.resources import Resources

MACHINE = SimpleNamespace(cpu=4, memory="16Gi", gpus=["0=A100", "1=T4"], gpu_memory="40Gi", custom={"license": 2})
GIB = 2**30

CHILD = """
import sys, time, pathlib
from types import SimpleNamespace
from flowbridge.engine.ledger import Account
from flowbridge.ir.resources import Resources
machine = SimpleNamespace(cpu=4, memory="16Gi", gpus=["0=A100", "1=T4"], gpu_memory="40Gi", custom={"license": 2})
account = Account.open(machine, pathlib.Path(sys.argv[1]))
"""


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    opened = Account.open(MACHINE, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Account]:
    opened = Account.open(MACHINE, tmp_path)
    yield opened
    opened.close()


def start(folder: Path, code: str) -> subprocess.Popen[str]:
    """Start a process with an account, and wait until it says something."""
    process = subprocess.Popen([sys.executable, "-c", CHILD + code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_lease_says_what_is_held_and_gives_it_back(account: Account) -> None:
    lease = account.request("run", "train", Resources(cpu=3, memory=2 * GIB, gpu=2))
    assert lease is not None
    assert (lease.cpu, lease.memory, lease.gpus) == (3, 2 * GIB, ("0", "1"))
    assert account.request("run", "more", Resources(gpu=1)) is None
    lease.release()
    lease.release()
    with account.request("run", "more", Resources(gpu=1)) or pytest.fail("it was given back"):
        assert len([h for h in account.holders() if not h.waiting]) == 1
    assert account.holders() == []


def test_a_share_of_a_gpu_is_a_share_of_its_memory(account: Account) -> None:
    lease = account.request("run", "small", Resources(gpu=0.25))
    assert lease is not None
    assert (lease.gpu_share, lease.gpu_memory, len(lease.gpus)) == (0.25, 10 * GIB, 1)


def test_a_gang_divides_its_gpus_by_node(account: Account) -> None:
    lease = account.request("run", "gang", Resources(cpu=1, gpu=1), nodes=2)
    assert lease is not None
    assert sorted(lease.gpus_of(0) + lease.gpus_of(1)) == ["0", "1"]


def test_who_waits_is_served_when_something_is_given_back(account: Account, other: Account) -> None:
    lease = account.request("a", "1", Resources(cpu=4))
    assert lease is not None
    assert other.request("b", "1", Resources()) is None
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            mine = Account.open(MACHINE, account.path.parent)
            while (got := mine.request("c", "1", Resources())) is None:
                mine.wait_hint(10)
            got.release()
            code = 0
        finally:
            os._exit(code)
    while len(account.holders()) < 3:
        time.sleep(0.01)
    lease.release()
    served = other.request("b", "1", Resources())
    assert served is not None
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_waiting_ends_at_once_when_something_is_given_back(account: Account, other: Account) -> None:
    lease = account.request("a", "1", Resources(cpu=4))
    assert lease is not None
    assert other.request("b", "1", Resources()) is None
    lease.release()
    began = time.monotonic()
    other.wait_hint(60)
    assert other.request("b", "1", Resources()) is not None
    assert time.monotonic() - began < 0.4, "the pipe woke it, not the clock"


def test_many_tasks_of_a_run_that_want_the_same_stand_in_the_queue_as_one(account: Account) -> None:
    assert account.request("a", "holds", Resources(cpu=4)) is not None
    for i in range(100):
        assert account.request("a", str(i), Resources()) is None
    assert [h.task for h in account.holders() if h.waiting] == ["0"]
    for i in range(100):
        account.withdraw("a", str(i))
    assert [h.task for h in account.holders() if h.waiting] == []


def test_leaving_gives_back_everything_of_a_run(account: Account) -> None:
    assert account.request("a", "holds", Resources(cpu=2)) is not None
    assert account.request("b", "holds", Resources(cpu=1)) is not None
    assert account.request("a", "waits", Resources(cpu=4)) is None
    account.leave("a")
    assert [(h.run, h.task) for h in account.holders()] == [("b", "holds")]


def test_who_holds_and_who_waits_for_what_can_be_seen(account: Account, other: Account) -> None:
    assert account.request("a", "train", Resources(cpu=1, memory=10 * GIB, gpu=1, gpu_type="A100", custom=(("license", 1.5),))) is not None
    assert other.request("b", "test", Resources(cpu=4, memory=10 * GIB, gpu=1, custom=(("license", 1.0),))) is None
    holds, waits = account.holders()
    assert (holds.run, holds.task, holds.gpus, holds.memory, holds.custom) == ("a", "train", ("0",), 10 * GIB, (("license", 1.5),))
    assert (holds.waiting, holds.pid, holds.lacking) == (False, os.getpid(), ())
    assert (waits.run, waits.waiting, waits.gpu, sorted(waits.lacking)) == ("b", True, 1.0, ["cpu", "license", "memory"])
    assert account.lacking(Resources(gpu=2)) == ("gpu",)


def test_what_a_dead_process_held_is_taken_back(account: Account, tmp_path: Path) -> None:
    process = start(tmp_path, "lease = account.request('dead', 't', Resources(cpu=4)); print('ready', flush=True); time.sleep(600)")
    assert account.request("a", "1", Resources()) is None
    end(process)
    deadline = time.monotonic() + 30
    while (lease := account.request("a", "1", Resources())) is None and time.monotonic() < deadline:
        account.wait_hint(0.1)
    assert lease is not None
    assert [h.run for h in account.holders()] == ["a"]


def test_a_dead_process_that_waited_is_forgotten_with_its_pipe(account: Account, tmp_path: Path) -> None:
    assert account.request("a", "1", Resources(cpu=4)) is not None
    process = start(tmp_path, "assert account.request('dead', 't', Resources(cpu=4)) is None; print('ready', flush=True); time.sleep(600)")
    assert [h.run for h in account.holders()] == ["a", "dead"]
    assert len(list(tmp_path.glob("*.wake-*"))) == 1
    end(process)
    assert [h.run for h in account.holders()] == ["a"]
    assert list(tmp_path.glob("*.wake-*")) == []


def test_a_dead_process_that_the_book_no_longer_knows_leaves_no_pipe(account: Account, tmp_path: Path) -> None:
    process = start(tmp_path, "assert account.fileno() >= 0; print('ready', flush=True); time.sleep(600)")
    assert [h.run for h in account.holders()] == []
    assert len(list(tmp_path.glob("*.wake-*"))) == 1, "it lives"
    end(process)
    assert [h.run for h in account.holders()] == []
    assert list(tmp_path.glob("*.wake-*")) == []


def test_a_stopped_process_that_waits_holds_up_nobody_for_long(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_TAKES_NOTHING", 0.3)
    lease = account.request("a", "1", Resources(cpu=4))
    assert lease is not None
    process = start(tmp_path, "assert account.request('b', 't', Resources(cpu=4)) is None; print('ready', flush=True); time.sleep(600)")
    process.send_signal(signal.SIGSTOP)
    lease.release()
    assert account.request("a", "2", Resources(cpu=4)) is None, "b is first"
    deadline = time.monotonic() + 30
    while (lease := account.request("a", "2", Resources(cpu=4))) is None and time.monotonic() < deadline:
        account.wait_hint(0.1)
    assert lease is not None
    end(process)


def test_a_process_id_that_is_used_again_is_another_process(account: Account) -> None:
    assert account.request("a", "1", Resources()) is not None
    with account._locked():
        account._commit([["own", "ghost", os.getpid(), 1, "u"], ["take", "x", "ghost", "g", "t", [[["cpu", 3000]], 0, 0, ""], [], 1.0]])
    assert [h.run for h in account.holders()] == ["a"]


@pytest.mark.parametrize("what", ["file", "folder", "garbage"])
def test_deleting_the_account_while_it_is_in_use_loses_no_lease(account: Account, other: Account, tmp_path: Path, what: str) -> None:
    lease = account.request("a", "1", Resources(cpu=3))
    assert lease is not None
    assert other.request("b", "1", Resources(cpu=2)) is None
    if what == "garbage":
        account.path.write_bytes(b"\0" * 10_000)
    else:
        for file in tmp_path.iterdir():
            if what == "folder" or file == account.path:
                file.unlink()
    if what == "folder":
        tmp_path.rmdir()
    assert account.request("a", "2", Resources(cpu=2)) is None
    assert other.request("b", "1", Resources(cpu=2)) is None
    assert sorted((h.run, h.waiting) for h in other.holders()) == [("a", False), ("a", True), ("b", True)]
    lease.release()
    assert other.request("b", "1", Resources(cpu=2)) is not None


def test_an_account_that_can_not_be_written_counts_for_this_process_alone(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ledger_file.LedgerFile, "append", full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        lease = account.request("a", "1", Resources(cpu=4))
    assert lease is not None
    assert account.request("a", "2", Resources()) is None
    lease.release()
    assert account.request("a", "2", Resources()) is not None


def test_a_forked_child_has_an_account_of_its_own(account: Account) -> None:
    lease = account.request("a", "1", Resources(cpu=3))
    assert lease is not None
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            lease.release()
            own = account.request("child", "1", Resources(cpu=1))
            code = 0 if own is not None and len(account.holders()) == 2 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [(h.run, h.cpu) for h in account.holders()] == [("a", 3.0)]


def test_the_file_stays_small(account: Account, other: Account) -> None:
    kept = other.request("b", "long", Resources(cpu=1))
    for i in range(3000):
        with account.request("a", str(i), Resources()) or pytest.fail("there is room"):
            continue
    assert account.path.stat().st_size < 200_000
    assert kept is not None
    assert [h.run for h in other.holders()] == ["b"]


@pytest.mark.parametrize(
    ("resources", "nodes", "words"),
    [
        (Resources(cpu=8), 1, "cpu=8 is asked for, and this machine has 4 cores"),
        (Resources(cpu=3), 2, "cpu=3 on each of 2 nodes is asked for, and this machine has 4 cores"),
        (Resources(memory=17 * GIB), 1, "memory=17Gi is asked for, and this machine has 16Gi"),
        (Resources(gpu=3), 1, r"gpu=3 is asked for, and this machine has 2 \(A100, T4\)"),
        (Resources(gpu=1, gpu_type="H100"), 1, r"gpu=1 of type H100 is asked for, and this machine has 2 \(A100, T4\)"),
        (Resources(gpu=0.6), 3, "gpu=0.6 on each of 3 nodes"),
        (Resources(custom=(("licence", 1.0),)), 1, "no such resource is declared"),
        (Resources(custom=(("license", 3.0),)), 1, "license=3 is asked for, and this machine is declared to have 2"),
        (Resources(disk=2**60), 1, "disk=1Ei is asked for"),
        (Resources(shm=2**60), 1, "shm=1Ei is asked for"),
    ],
)
def test_what_this_machine_can_never_give_is_said(account: Account, resources: Resources, nodes: int, words: str) -> None:
    sentence = account.impossible(resources, nodes)
    assert sentence is not None
    assert re.search(words, sentence), sentence


def test_what_can_never_be_given_is_refused_and_does_not_wait(account: Account) -> None:
    with pytest.raises(ImpossibleRequestError, match="train/3 can never start: cpu=5 is asked for, and this machine has 4 cores"):
        account.request("a", "train/3", Resources(cpu=5))
    assert account.holders() == []


@pytest.mark.parametrize(
    "resources", [Resources(), Resources(cpu=4, memory=16 * GIB, gpu=2), Resources(gpu=0.5), Resources(custom=(("license", 2.0),))]
)
def test_what_it_can_give_is_possible(account: Account, resources: Resources) -> None:
    assert account.impossible(resources) is None
    assert account.request("a", "1", resources) is not None


def test_tasks_are_kept_to_cores_of_their_own_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 5, 6, 7})
    machine = SimpleNamespace(cpu=None, memory=None, gpus=[], gpu_memory=None, custom={}, affinity=True)
    account, other = Account.open(machine, tmp_path), Account.open(machine, tmp_path)
    leases = [a.request("a", str(i), Resources(cpu=c)) for i, (a, c) in enumerate([(account, 2), (other, 0.5), (account, 1)])]
    assert [lease.cores for lease in leases if lease] == [(4, 5), (6,), (7,)]
    assert leases[0] is not None
    leases[0].release()
    undeclared, again = other.request("b", "1", Resources()), other.request("b", "2", Resources(cpu=1))
    assert undeclared is not None
    assert again is not None
    assert (undeclared.cores, again.cores) == ((), (4,))


def test_the_folder_is_set_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWBRIDGE_ACCOUNT_DIR", str(tmp_path / "here"))
    assert Account.open().path.parent == tmp_path / "here"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLOWBRIDGE_ACCOUNT_DIR", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="cannot be used: it is not a folder"):
        Account.open()


def test_a_declared_amount_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'lots' is not an amount of memory"):
        Account.open(SimpleNamespace(cpu=1, memory="lots", gpus=None, gpu_memory=None, custom={}), tmp_path)


TURNS = """
held = pathlib.Path(sys.argv[1]) / "held"
print("ready", flush=True)
for i in range(6):
    while (lease := account.request(sys.argv[0] + str(time.time_ns()), str(i), Resources(memory=11 * 2**30))) is None:
        account.wait_hint(10)
    held.mkdir()
    time.sleep(0.03)
    held.rmdir()
    lease.release()
"""


def test_two_processes_that_want_most_of_the_memory_take_turns(tmp_path: Path) -> None:
    code = TURNS.replace("sys.argv[0] + str(time.time_ns())", "run") + "print(time.time())"
    one, two = (start(tmp_path, f"run = {name!r}\n" + code) for name in ("one", "two"))
    ends = [float(p.communicate(timeout=120)[0]) for p in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], "mkdir fails where two hold at once"
    assert abs(ends[0] - ends[1]) < 1.0, "they alternate, so they end together"


def hammer(folder: Path, seed: int) -> int:
    """Fork a process that takes leases and gives them back, and complains in a file if it ever holds what another holds."""
    pid = os.fork()
    if pid:
        return pid
    try:
        rng, account = random.Random(seed), Account.open(MACHINE, folder)
        slots = [os.open(folder / f"slot{gpu}", os.O_RDWR | os.O_CREAT) for gpu in (0, 1)]
        while True:
            _take_and_give_back(rng, account, slots)
    except BaseException as error:  # noqa: BLE001  (told, and looked at by the test)
        (folder / f"complaint{os.getpid()}").write_text(repr(error))
    finally:
        os._exit(1)
    return pid


def _take_and_give_back(rng: random.Random, account: Account, slots: list[int]) -> None:
    run = f"run{os.getpid()}"
    asked = Resources(cpu=rng.choice([0.5, 1, 4]), memory=rng.choice([None, GIB, 11 * GIB]), gpu=rng.choice([1, 1, 2]))
    while (lease := account.request(run, "t", asked)) is None:
        if rng.random() < 0.1:
            account.withdraw(run, "t")
            return
        account.wait_hint(0.02)
    for gpu in lease.gpus:
        fcntl.flock(slots[int(gpu)], fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where another process holds the same GPU
    with (account.path.parent / "granted").open("a") as file:
        file.write(".")
    time.sleep(rng.random() * 0.005)
    for gpu in lease.gpus:
        fcntl.flock(slots[int(gpu)], fcntl.LOCK_UN)
    lease.release()


def test_killed_at_random_200_times_nothing_overlaps_and_nothing_leaks(tmp_path: Path) -> None:
    rng = random.Random(7)
    living = [hammer(tmp_path, seed) for seed in range(4)]
    for kill in range(200):
        time.sleep(rng.random() * 0.06)
        victim = living.pop(0)
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        if kill < 196:
            living.append(hammer(tmp_path, 100 + kill))
    assert [file.read_text() for file in tmp_path.glob("complaint*")] == []
    assert (tmp_path / "granted").stat().st_size > 100, "they were busy"
    account = Account.open(MACHINE, tmp_path)
    everything = account.request("after", "all", Resources(cpu=4, memory=16 * GIB, gpu=2))
    assert everything is not None
    assert [h.run for h in account.holders()] == ["after"]
    assert len(list(tmp_path.glob("*.wake-*"))) == 0
    account.close()


@pytest.mark.parametrize("name", ["x", "1.x", "1", "", ".", "99999999999999999999999.1", "²².1", "2.3.4.5"])
def test_a_file_of_any_name_in_the_shared_folder_stops_nobody(tmp_path: Path, name: str) -> None:
    account = tmp_path / "ledger-[1].jsonl"
    strange = tmp_path / f"ledger-[1].wake-{name}"
    strange.touch()
    dead = tmp_path / "ledger-[1].wake-4194303.1.a"
    dead.touch()
    Waker.sweep(account)
    assert not dead.exists()
