"""The loop over thousands of tasks that end at once: what it holds must not grow with them."""

from __future__ import annotations

import gc
import tracemalloc
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from flowbridge.engine.executors.base import Began, Ended, Happening, Launch, Told
from flowbridge.engine.ledger import Account
from flowbridge.engine.loop import Loop, Options
from flowbridge.records.models import TaskRecord

from .runs import flow, item, out, over, prepare, step

FIRST, LAST = 2000, 5000
"""Past the point where what is kept of the last few tasks, however many there are, is as large as it gets."""


class Instant:
    """Ends every task when it is started, and looks at memory now and then."""

    isolates = True
    folder = None

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.happened: deque[Happening] = deque()
        self.started = 0
        self.held: dict[int, int] = {}
        self.most_at_once = 0

    def start(self, launch: Launch) -> None:
        self.started += 1
        if self.started in {FIRST, LAST}:
            gc.collect()
            self.held[self.started] = tracemalloc.get_traced_memory()[0]
        record = TaskRecord(step=launch.order.step, index=launch.order.index, state="done", finished=0.0)
        self.happened += [
            Began(launch.number, 2**30 + launch.number),
            Told(launch.number, record, record.model_dump_json().encode()),
            Ended(launch.number, 0),
        ]
        self.most_at_once = max(self.most_at_once, len(self.happened) // 3)

    def poll(self, timeout: float, watched: Sequence[int] = ()) -> list[Happening]:
        found = list(self.happened)
        self.happened.clear()
        return found

    def close(self) -> None:
        """Nothing runs."""


def test_the_driver_of_a_large_map_stays_flat(tmp_path: Path) -> None:
    graph = flow(
        over("m", list(range(2600))),
        step("a", function="square", scope=("m",), inputs={"x": item("m")}, timeout=3600),
        step("b", function="square", scope=("m",), inputs={"x": out("a")}, timeout=3600),
    )
    run = prepare(graph, tmp_path)
    executor = Instant()
    account = Account.open(directory=tmp_path)
    loop = Loop(run, executor, account, Options(max_parallel=4))
    tracemalloc.start()
    loop._go_on()
    tracemalloc.stop()
    loop._close()
    assert executor.started == 5200
    assert executor.most_at_once <= 4
    grown = executor.held[LAST] - executor.held[FIRST]
    assert grown < 100 * (LAST - FIRST), f"{grown / (LAST - FIRST):.0f} bytes a task"
    assert not account.holders()
    account.close()
