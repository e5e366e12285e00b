from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowbridge.engine import ledger_file
from flowbridge.engine.ledger_file import LedgerFile
from flowbridge.errors import ConfigError

HOLD = """
import sys, time, pathlib
from flowbridge.engine.ledger_file import LedgerFile
file = LedgerFile(pathlib.Path(sys.argv[1]))
with file.locked():
    print("held", flush=True)
    time.sleep(600)
"""


def read(path: Path) -> list[list[object]]:
    with LedgerFile(path).locked() as changes:
        return changes.events


def test_each_sees_what_the_other_wrote(tmp_path: Path) -> None:
    one, other = LedgerFile(tmp_path / "l"), LedgerFile(tmp_path / "l")
    with one.locked() as changes:
        assert changes.restarted
        one.append([["a", 1], ["b", 2]])
    with other.locked() as changes:
        assert changes.events == [["a", 1], ["b", 2]]
        other.append([["c", 3]])
    assert not one.unchanged()
    with one.locked() as changes:
        assert not changes.restarted
        assert changes.events == [["c", 3]]
    assert one.unchanged()


def test_a_line_that_was_torn_is_passed_over_and_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "l"
    path.write_bytes(b'["a",1]\n["b",2')
    file = LedgerFile(path)
    with file.locked() as changes:
        assert changes.events == [["a", 1]]
        file.append([["c", 3]])
    assert read(path) == [["a", 1], ["c", 3]]


def test_garbage_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "l"
    path.write_bytes(b'\x00\xff\n{"a": 1}\n[]\n[1]\n["a",1]\n')
    assert read(path) == [["a", 1]]


@pytest.mark.parametrize("how", ["deleted", "replaced", "cut", "folder deleted"])
def test_a_file_that_goes_away_is_begun_anew(tmp_path: Path, how: str) -> None:
    path = tmp_path / "folder" / "l"
    file = LedgerFile(path)
    with file.locked():
        file.append([["a", 1]])
    if how == "replaced":
        (tmp_path / "new").write_bytes(b'["other",1]\n')
        (tmp_path / "new").rename(path)
    elif how == "cut":
        path.write_bytes(b"")
    else:
        path.unlink()
    if how == "folder deleted":
        path.parent.rmdir()
    with file.locked() as changes:
        assert changes.restarted
        assert changes.events == ([["other", 1]] if how == "replaced" else [])
        file.append([["b", 2]])
    assert ["b", 2] in read(path)


def test_a_replacement_takes_all_readers_along(tmp_path: Path) -> None:
    one, other = LedgerFile(tmp_path / "l"), LedgerFile(tmp_path / "l")
    for file in (one, other):
        with file.locked():
            file.append([["a", 1]])
    with one.locked():
        one.replace([["all", 1]])
        one.append([["more", 2]])
    with other.locked() as changes:
        assert changes.restarted
        assert changes.events == [["all", 1], ["more", 2]]
    assert [p.name for p in tmp_path.iterdir()] == ["l"]


def test_a_killed_holder_of_the_lock_stops_nobody(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "l")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    holder.kill()
    holder.communicate()
    assert read(tmp_path / "l") == []


def test_the_lock_of_a_stopped_process_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_file, "_STUCK_SECONDS", 0.3)
    path = tmp_path / "l"
    mine = LedgerFile(path)
    with mine.locked():
        mine.append([["before", 1]])
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    holder.send_signal(signal.SIGSTOP)
    with mine.locked() as changes:
        assert changes.restarted
        assert changes.events == [["before", 1]]
        mine.append([["after", 2]])
    assert read(path) == [["before", 1], ["after", 2]]
    holder.kill()
    holder.communicate()


def test_waiting_for_the_lock_ends_when_it_is_given_back(tmp_path: Path) -> None:
    one, other = LedgerFile(tmp_path / "l"), LedgerFile(tmp_path / "l")
    pid = 0
    with one.locked():
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with other.locked():
                    other.append([["child", 1]])
                code = 0
            finally:
                os._exit(code)
        time.sleep(0.1)
        one.append([["parent", 1]])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert read(tmp_path / "l") == [["parent", 1], ["child", 1]]


def test_what_a_full_disk_cut_off_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, write = LedgerFile(tmp_path / "l"), os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))
    with file.locked(), pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        file.append([["a long one", 1]])
    monkeypatch.undo()
    with file.locked():
        file.append([["b", 2]])
    assert read(tmp_path / "l") == [["b", 2]]


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_anything_but_a_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "l"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        (tmp_path / "precious").write_text("keep me")
        path.symlink_to(tmp_path / "precious")
    with pytest.raises((ConfigError, OSError)), LedgerFile(path).locked():
        pass
    if kind == "link":
        assert (tmp_path / "precious").read_text() == "keep me"


def test_all_users_may_write_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        read(tmp_path / "shared" / "l")
    finally:
        os.umask(old)
    assert (tmp_path / "shared" / "l").stat().st_mode & 0o777 == 0o666
    assert (tmp_path / "shared").stat().st_mode & 0o7777 == 0o1777
