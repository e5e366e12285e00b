"""Functions of steps for the tests of the engine."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
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


def leads_to(fd: int) -> str:
    """Tell where a descriptor of the driver leads in this process, which may have one of its own by that number."""
    return os.path.realpath(f"/proc/self/fd/{fd}")


def in_memory(x: int) -> Any:
    """What the template and this process share: how often this module was imported, and by whom."""
    return IMPORTED_BY


IMPORTED_BY = os.getpid()


def hoards(megabytes: int) -> list[Any]:
    """Take memory if this is the first attempts, and tell what was allowed."""
    held = bytearray(megabytes * 2**20)
    for at in range(0, len(held), 4096):
        held[at] = 1
    return [context().attempt, context().resources.memory]


def writes(megabytes: int) -> str:
    (context().scratch / "large").write_bytes(bytes(megabytes * 2**20))
    time.sleep(30)
    return str(context().scratch)


def scratch(x: int) -> str:
    (context().scratch / "small").write_bytes(b"x")
    return str(context().scratch)


def rendezvous(x: int) -> dict[str, Any]:
    """Meet the other members over the address that all were given; the first collects what each is."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "CUDA_VISIBLE_DEVICES", "MASTER_ADDR", "MASTER_PORT")
    own = {name: os.environ[name] for name in names}
    address = (own["MASTER_ADDR"], int(own["MASTER_PORT"]))
    print("member", own["RANK"], flush=True)
    if own["RANK"] != "0":
        with _connected(address) as connection:
            connection.sendall(json.dumps(own).encode())
        return own
    with socket.create_server(address) as server:
        server.settimeout(20)
        others = []
        for _ in range(int(own["WORLD_SIZE"]) - 1):
            connection, _ = server.accept()
            with connection, connection.makefile() as stream:
                others.append(json.loads(stream.read()))
    return {"members": sorted([own, *others], key=lambda m: m["RANK"])}


def _connected(address: tuple[str, int]) -> socket.socket:
    while True:
        try:
            return socket.create_connection(address, timeout=20)
        except ConnectionRefusedError:
            time.sleep(0.02)


def one_member_fails(folder: str, how: str) -> int:
    (Path(folder) / f"pid{os.environ['RANK']}").write_text(str(os.getpid()))
    if os.environ["RANK"] == "1":
        if how == "raises":
            raise ValueError("member one is not well")
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    return 1


def first_member_ends(folder: str) -> int:
    (Path(folder) / f"pid{os.environ['RANK']}").write_text(str(os.getpid()))
    if os.environ["RANK"] == "0":
        raise ValueError("member zero is not well")
    time.sleep(60)
    return 1
