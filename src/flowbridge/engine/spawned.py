"""One task in a new Python: for systems and flows where forking is unsafe."""

from __future__ import annotations

import os
import pickle
import sys
from typing import TYPE_CHECKING

from flowbridge.engine.child import become_clean, end, run_child
from flowbridge.engine.template_setup import functions_of, read_kept, session_of
from flowbridge.worker.order import WorkOrder

if TYPE_CHECKING:
    from flowbridge.engine.child import ChildOrder
    from flowbridge.engine.template_setup import TemplateSetup


def main() -> int:
    """Take the set-up from the file whose descriptor is the only argument and one order from standard input, and run it."""
    given: ChildOrder = pickle.loads(sys.stdin.buffer.read())
    become_clean()
    given.enter()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    setup: TemplateSetup = pickle.loads(read_kept(int(sys.argv[1])))
    order = WorkOrder.model_validate_json(given.order)
    return run_child(given, session_of(setup, functions_of(setup, only=order.step)))


if __name__ == "__main__":
    end(main())
