"""One task in a process of its own that was not forked: for systems and flows where forking is unsafe."""

from __future__ import annotations

import os
import pickle
import socket
import sys
import threading
from typing import TYPE_CHECKING

from flowbridge.engine.child import HEAD, STORED, end, run_child
from flowbridge.engine.process_tree import kill_descendants
from flowbridge.engine.template import functions_of, receive_all, session_of
from flowbridge.worker.order import WorkOrder

if TYPE_CHECKING:
    from flowbridge.engine.child import ChildOrder
    from flowbridge.engine.template import TemplateSetup

_KILLED = 137


class _Channel:
    """Tells the driver that the record is in the store; it reads it there."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def send(self, message: bytes, /) -> int:
        _, number, _ = HEAD.unpack_from(message)
        self._channel.sendall(HEAD.pack(STORED, number, 0))
        return len(message)


def main() -> int:
    """Take one order from the channel whose descriptor is the only argument, and run it."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    setup: TemplateSetup
    given: ChildOrder
    setup, given = pickle.loads(receive_all(channel))  # noqa: S301  (from the driver, over a socket that only it holds)
    threading.Thread(target=_watch, args=(channel,), name="flowbridge-driver", daemon=True).start()
    order = WorkOrder.model_validate_json(given.order)
    os.environ.update(given.env)
    session = session_of(setup, functions_of(setup, only=order.step))
    return run_child(given, session, _Channel(channel))


def _watch(channel: socket.socket) -> None:
    """End this process and all it started when the driver is gone."""
    try:
        while channel.recv(1):
            continue
    except OSError:  # the connection broke: the driver is gone as well
        pass
    kill_descendants()
    os._exit(_KILLED)


if __name__ == "__main__":
    end(main())
