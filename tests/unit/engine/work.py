"""Functions of steps for the tests of the engine."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from flowbridge.worker.context import context


def count_on(x: int) -> int:
    return x + 1


def square(x: int) -> int:
    return x * x


def numbers(n: int) -> list[int]:
    return list(range(n))


def total(xs: list[int]) -> int:
    return sum(xs)


def fail(x: int) -> int:
    raise ValueError(f"no good: {x}")


def second_time(x: int) -> list[int]:
    if context().attempt == 0:
        raise RuntimeError("the first time")
    return [x, os.getpid()]


def pid(x: Any = None) -> int:
    return os.getpid()


def dies(x: int) -> int:
    print("last words", flush=True)
    os._exit(7)


def killed(x: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


def sleeps(x: float) -> float:
    time.sleep(x)
    return x


def marks_and_sleeps(folder: str, x: float) -> float:
    """Leave the pid of this process and of a grandchild that has left its session, then sleep."""
    script = "import os, time; os.setsid(); time.sleep(300)"
    child = subprocess.Popen([sys.executable, "-c", script])
    shell = subprocess.Popen(["sh", "-c", "sleep 300 & echo $! > " + str(Path(folder) / "orphan") + "; exit 0"])
    shell.wait()
    (Path(folder) / "pids").write_text(f"{os.getpid()} {child.pid} {(Path(folder) / 'orphan').read_text().strip()}")
    time.sleep(x)
    return x


def meets(folder: str, x: int) -> list[float]:
    """Tell when this began and ended."""
    began = time.time()
    time.sleep(0.3)
    return [began, time.time()]


def surroundings(x: int) -> dict[str, Any]:
    return {
        "session": os.getsid(0) == os.getpid(),
        "sigint": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "sigterm": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        "threads": [t.name for t in threading.enumerate() if t.name.startswith("tests-")],
        "random": random.random(),
        "omp": os.environ.get("OMP_NUM_THREADS"),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def writes_to(fd: int) -> bool:
    """Tell whether a descriptor of the driver leads anywhere."""
    return os.path.realpath(f"/proc/self/fd/{fd}") != os.devnull


def in_memory(x: int) -> Any:
    """What the template and this process share: how often this module was imported, and by whom."""
    return IMPORTED_BY


IMPORTED_BY = os.getpid()
