from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowbridge.environments import EnvironmentLock, interpreter, lock, materialise, prune, wants_own
from flowbridge.environments.lock import NEEDS
from flowbridge.environments.materialise import MARKER, inside
from flowbridge.errors import ConfigError
from flowbridge.ir.environment import EnvironmentWish

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


def run(python: Path, code: str) -> str:
    """Run a line of code in an environment, away from this project's folder."""
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd="/", check=False, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def locked(cache: Path, *packages: str) -> EnvironmentLock:
    return lock(EnvironmentWish(packages=packages), cache_dir=cache)


@pytest.mark.usefixtures("alone")
def test_an_environment_has_what_was_locked_and_this_flowbridge_and_nothing_else(tmp_path: Path) -> None:
    python = materialise(locked(tmp_path, "fb_tiny==1.0"), tmp_path)
    assert run(python, "import fb_tiny; print(fb_tiny.VERSION)") == "1.0"
    assert run(python, "import flowbridge, os; print(os.path.realpath(flowbridge.__file__))") == str(
        Path(sys.modules["flowbridge"].__file__ or "").resolve()
    )
    assert run(python, "import importlib.util as u; print(u.find_spec('pytest'), u.find_spec('networkx'))") == "None None"


@pytest.mark.usefixtures("alone")
def test_it_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = locked(tmp_path, "fb_tiny")
    python = materialise(made, tmp_path)
    monkeypatch.setattr(sys.modules["flowbridge.environments.materialise"], "_make", lambda *_: pytest.fail("it was there"))
    assert materialise(made, tmp_path) == python


@pytest.mark.usefixtures("alone")
def test_what_a_killed_process_left_is_made_anew(tmp_path: Path) -> None:
    made = locked(tmp_path, "fb_tiny==1.0")
    folder = materialise(made, tmp_path).parent.parent
    (folder / MARKER).unlink()
    next(folder.glob("lib/python*/site-packages/fb_tiny.py")).unlink()
    assert run(materialise(made, tmp_path), "import fb_tiny; print(fb_tiny.VERSION)") == "1.0"


@pytest.mark.usefixtures("alone")
def test_many_processes_at_once_make_it_once(tmp_path: Path) -> None:
    made = locked(tmp_path, "fb_tiny==1.0")
    code = (
        "import sys, pathlib; from flowbridge.environments import EnvironmentLock\n"
        "m = sys.modules['flowbridge.environments.materialise']\n"
        "make = m._make\n"
        "def counted(*a): print('made'); make(*a)\n"
        "m._make = counted\n"
        f"print(m.materialise(EnvironmentLock.parse(pathlib.Path({str(tmp_path / 'text')!r}).read_text()), pathlib.Path({str(tmp_path)!r})))"
    )
    (tmp_path / "text").write_text(made.text)
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [p.communicate(timeout=120)[0].split() for p in started]
    assert [p.returncode for p in started] == [0] * 4
    assert len({words[-1] for words in said}) == 1
    assert sum("made" in words for words in said) == 1


@pytest.mark.usefixtures("alone")
def test_a_maker_that_is_killed_stops_nobody(tmp_path: Path) -> None:
    made = locked(tmp_path, "fb_tiny==1.0")
    (tmp_path / "text").write_text(made.text)
    code = (
        "import sys, pathlib, time; from flowbridge.environments import EnvironmentLock, materialise\n"
        "m = sys.modules['flowbridge.environments.materialise']\n"
        "m._link_flowbridge = lambda folder: (print('half', flush=True), time.sleep(600))\n"
        f"m.materialise(EnvironmentLock.parse(pathlib.Path({str(tmp_path / 'text')!r}).read_text()), pathlib.Path({str(tmp_path)!r}))"
    )
    maker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert maker.stdout is not None
    assert maker.stdout.readline().strip() == "half"
    maker.send_signal(signal.SIGKILL)
    maker.communicate()
    assert run(materialise(made, tmp_path), "import fb_tiny, flowbridge; print(fb_tiny.VERSION)") == "1.0"


@pytest.mark.usefixtures("alone")
def test_a_file_that_changed_since_it_was_locked_is_refused(tmp_path: Path, alone: Path) -> None:
    made = locked(tmp_path, "fb_tiny==1.0")
    lines = [line.replace("sha256:", "sha256:" + "0" * 8, 1)[: len(line)] if "--hash" in line else line for line in made.text.splitlines()]
    with pytest.raises(ConfigError, match="cannot be made"):
        materialise(EnvironmentLock.parse("\n".join(lines) + "\n"), tmp_path)


@pytest.mark.usefixtures("alone")
def test_environments_that_nobody_asks_for_are_removed(tmp_path: Path) -> None:
    old, new = locked(tmp_path, "fb_tiny==1.0"), locked(tmp_path, "fb_tiny==2.0")
    python_old, python_new = materialise(old, tmp_path), materialise(new, tmp_path)
    past = time.time() - 1000
    os.utime(python_old.parent.parent / MARKER, (past, past))
    assert [folder for folder, _ in prune(500, tmp_path)] == [python_old.parent.parent]
    assert not python_old.exists()
    assert python_new.exists()
    assert run(materialise(old, tmp_path), "import fb_tiny; print(fb_tiny.VERSION)") == "1.0"


def test_a_wish_for_nothing_is_this_python() -> None:
    assert not wants_own(EnvironmentWish(env=(("A", "b"),), python=OWN))
    assert interpreter(EnvironmentWish()) == Path(sys.executable)
    assert wants_own(EnvironmentWish(python="3.99"))


@pytest.mark.usefixtures("alone")
def test_a_process_goes_on_in_the_environment(tmp_path: Path) -> None:
    made = locked(tmp_path, "fb_tiny==1.0")
    (tmp_path / "text").write_text(made.text)
    (tmp_path / "go.py").write_text(
        "import sys, pathlib, os\n"
        f"sys.path.insert(0, {str(Path(sys.modules['flowbridge'].__file__ or '').parent.parent)!r})\n"
        "from flowbridge import environments\n"
        "print(os.getpid())\n"
        f"environments.enter(pathlib.Path({str(tmp_path / 'text')!r}).read_text(), [__file__, 'again'], cache_dir=pathlib.Path({str(tmp_path)!r}))\n"
        "print(os.getpid(), sys.prefix, sys.argv[1:])\n"
    )
    # Entering needs the worker's own packages on the other side; a test without an index lends those of this Python.
    lent = os.pathsep.join(p for p in sys.path if "site-packages" in p)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "go.py")], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": lent}
    )
    assert done.returncode == 0, done.stderr
    first, again, last = done.stdout.splitlines()
    assert first == again
    assert last == f"{first} {materialise(made, tmp_path).parent.parent} ['again']"
    assert not inside(made)


@pytest.mark.usefixtures("index")
def test_a_real_package_from_the_index_runs_beside_the_worker(tmp_path: Path) -> None:
    python = interpreter(EnvironmentWish(packages=("iniconfig==2.*",)), cache_dir=tmp_path)
    loaded = json.loads(
        run(
            python,
            "import sys, json, iniconfig, flowbridge.worker.__main__, flowbridge.engine.template\n"
            "print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))",
        )
    )
    assert "iniconfig" in loaded
    assert not {"networkx", "rich", "typer", "kfp", "metaflow"} & set(loaded)


def test_the_needs_of_the_worker_are_dependencies_of_flowbridge() -> None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert set(NEEDS) <= set(project["dependencies"])
