"""Functions of the steps in flows that really run."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from flowbridge import context


def load(path: str) -> tuple[int, int]:
    return len(path), 2


def train(data: int, x: float) -> float:
    return data * x


def select(train: list[float]) -> float:
    return max(train)


def publish(select: float) -> None:
    print("published", select)


def plan() -> list[int]:
    return [1, 2, 0]


def count_up(x: int) -> list[int]:
    return list(range(x))


def one_more(x: int) -> int:
    return x + 1


def total(leaf: list[int] | None = None, row: list[int] | None = None) -> int:
    return sum(leaf if leaf is not None else row or [])


def same(x: Any) -> Any:
    return x


def not_two(x: int) -> int:
    if x == 2:
        raise ValueError("two is not allowed")
    return x


def same_unused(unused: int) -> int:
    return unused


def same_used(used: list[int]) -> list[int]:
    return used


def no() -> bool:
    return False


def left() -> str:
    return "left"


def right(ask: bool) -> str:
    return f"right {ask}"


def fail() -> int:
    raise RuntimeError("this step always fails")


def third_time(marks: str) -> int:
    """Fail twice; each try leaves a mark in a folder."""
    tries = len(list(Path(marks).iterdir()))
    (Path(marks) / str(tries)).touch()
    if tries < 2:
        raise RuntimeError(f"try {tries}")
    return tries


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def vanish() -> int:
    os._exit(7)


def wait_for(**needs: Any) -> list[str]:
    return sorted(needs)


def nothing() -> int:
    return 1


def tell() -> dict[str, float]:
    from flowbridge.worker.context import log_metric, log_table

    log_metric("accuracy", 0.93)
    log_table("scores", [{"name": "a", "score": 1}])
    return {"a": 1.0}


def total_of(a: list[int]) -> int:
    return sum(a)


def same_a(a: Any) -> Any:
    return a


def eat(size: int) -> int:
    held = bytearray(size)
    for start in range(0, size, 4096):
        held[start] = 1
    time.sleep(0.5)
    return len(held)


def meet(x: int = 0) -> list[list[str]]:
    """Meet the other members of the gang at the address that all were given; the first collects what each is."""
    own = [os.environ[name] for name in ("RANK", "WORLD_SIZE", "NODE_RANK", "PET_NNODES")]
    print("member", own[0], "of", own[1], flush=True)
    address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    if own[0] != "0":
        with _connected(address) as connection:
            connection.sendall(json.dumps(own).encode())
        return [own]
    found = [own]
    with socket.create_server(address) as server:
        server.settimeout(60)
        while len(found) < int(own[1]):
            connection, _ = server.accept()
            with connection, connection.makefile() as stream:
                found.append(json.loads(stream.read()))
    return sorted(found) + ([[str(x)]] if x else [])


def _connected(address: tuple[str, int]) -> socket.socket:
    while True:
        try:
            return socket.create_connection(address, timeout=60)
        except ConnectionRefusedError:
            time.sleep(0.02)


def second_member_fails(folder: str) -> int:
    """In the first attempt the second member raises while the first one works on; later attempts are well."""
    if context().attempt:
        return int(os.environ["WORLD_SIZE"])
    if os.environ["RANK"] == "1":
        raise ValueError("member one is not well")
    time.sleep(120)
    return 0


def first_member_fails(folder: str) -> int:
    if os.environ["RANK"] == "0":
        raise ValueError("member zero is not well")
    time.sleep(120)
    return 0


def gang_that_lasts(folder: str) -> int:
    (Path(folder) / f"pid-{os.environ['RANK']}").write_text(str(os.getpid()))
    time.sleep(120)
    return 0


def never() -> bool:
    return False
