from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from flowbridge.engine import process_tree
from flowbridge.engine.process_tree import descendants, is_alive, kill_tree, processes, started_at

# Starts, in this order: a child, a grandchild, a grandchild in a session of its own, and an orphan of a session of its own.
FAMILY = """
import os, subprocess, sys, time
from flowbridge.engine.process_tree import adopt_orphans
if "adopt" in sys.argv:
    adopt_orphans()
sleep = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"]
def start(**options):
    process = subprocess.Popen(sleep, stdout=subprocess.PIPE, **options)
    process.stdout.readline()
    return process.pid
members = [start(), start(start_new_session=True)]
middle = os.fork()
if middle == 0:
    own = start(start_new_session="adopt" in sys.argv)
    os.write(int(sys.argv[1]), b"%d\\n" % own)
    os._exit(0)
os.waitpid(middle, 0)
print(*members, flush=True)
time.sleep(600)
"""


def family(*options: str) -> tuple[subprocess.Popen[str], list[int]]:
    reads, writes = os.pipe()
    root = subprocess.Popen(
        [sys.executable, "-c", FAMILY, str(writes), *options], stdout=subprocess.PIPE, text=True, start_new_session=True, pass_fds=[writes]
    )
    os.close(writes)
    assert root.stdout is not None
    members = [int(p) for p in root.stdout.readline().split()]
    with os.fdopen(reads) as pipe:
        members.append(int(pipe.readline()))
    return root, members


def alive(pids: list[int]) -> list[int]:
    states = {p.pid: p.state for p in processes()}
    return [p for p in pids if states.get(p, "Z") not in "ZX"]


@pytest.mark.parametrize("options", [(), ("adopt",)])
def test_a_tree_ends_whole_with_orphans_and_sessions_of_their_own(options: tuple[str, ...]) -> None:
    root, members = family(*options)
    assert alive(members) == members
    assert kill_tree(root.pid)
    assert alive([root.pid, *members]) == []
    root.communicate()
    assert root.returncode == -signal.SIGKILL


def test_the_session_of_a_root_that_is_dead_already_ends() -> None:
    root, members = family()
    root.kill()
    root.communicate()
    in_the_session = [members[0], members[2]]
    assert alive(in_the_session) == in_the_session
    assert kill_tree(root.pid)
    assert alive(in_the_session) == []
    os.kill(members[1], signal.SIGKILL)


def test_members_from_elsewhere_end_with_it() -> None:
    root, members = family()
    root.kill()
    root.communicate()
    assert kill_tree(root.pid, also=lambda: members)
    assert alive(members) == []


@pytest.mark.parametrize("line", ["", "    os.setpgid(0, 0)\n"])
def test_a_process_that_forks_as_fast_as_it_can_ends(line: str) -> None:
    code = f"import os, time\nprint(1, flush=True)\nwhile True:\n    if os.fork():\n        time.sleep(0.01)\n        os._exit(0)\n{line}"
    root = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert root.stdout is not None
    root.stdout.readline()
    time.sleep(0.05)
    assert kill_tree(root.pid)
    root.communicate()
    assert [p for p in processes() if p.session == root.pid and p.state not in "ZX"] == []


def test_this_process_and_its_parents_are_spared() -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            kill_tree(os.getppid(), patience=0.1)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_descendants_are_found_with_and_without_the_kernels_list(monkeypatch: pytest.MonkeyPatch) -> None:
    root, members = family("adopt")
    assert descendants(root.pid) == {root.pid, *members}
    monkeypatch.setattr(process_tree, "_lists_children", lambda: False)
    assert descendants(root.pid) == {root.pid, *members}
    kill_tree(root.pid)
    root.communicate()
    assert descendants(root.pid) == set()


def test_processes_are_seen_the_same_without_proc() -> None:
    own = next(p for p in processes() if p.pid == os.getpid())
    other = next(p for p in process_tree._processes_by_psutil() if p.pid == os.getpid())
    assert (own.parent, own.group, own.session) == (other.parent, other.group, other.session)


def test_a_process_is_known_by_its_id_and_start() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    started = started_at(process.pid)
    assert started
    assert is_alive(process.pid, started)
    assert not is_alive(process.pid, started + 1)
    process.kill()
    while is_alive(process.pid, started):  # a zombie is dead, though nobody has asked for its end yet
        time.sleep(0.01)
    assert process.wait() == -signal.SIGKILL
    assert not is_alive(process.pid, 0)


def test_a_child_ends_with_its_parent() -> None:
    code = (
        "import os, time\nfrom flowbridge.engine.process_tree import die_with_parent\n"
        "pid = os.fork()\nif pid == 0:\n    die_with_parent(); os.close(1); time.sleep(600)\n"
        "print(pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.2)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 30
    while alive([child]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert alive([child]) == []
