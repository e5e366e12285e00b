"""How a task's process asks the warm helper of its run. Imports nothing but what Python brings along."""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from types import SimpleNamespace
from typing import Any

SIZE = struct.Struct("<Q")
_STREAMS = (1, 2)


def ask(path: str, request: dict[str, Any]) -> SimpleNamespace | None:
    """Have the helper do what a step asks for, its output going where this process's goes; None where the helper is gone."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        try:
            channel.connect(path)
        except OSError:  # it ended, or this process is on another machine
            return None
        message = json.dumps({"request": request, "env": dict(os.environ)}).encode()
        channel.sendmsg([SIZE.pack(len(message))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", _STREAMS))])
        channel.sendall(message)
        answer = receive(channel)
    if answer is None:
        raise RuntimeError("flowbridge's helper ended while this task ran, so what became of it is not known")
    data = json.loads(answer)
    if "error" in data:
        raise RuntimeError(data["error"])
    return SimpleNamespace(**data)


def receive(channel: socket.socket) -> bytes | None:
    """Return one message: its size, then its bytes; None where the other end is gone."""
    head = _exactly(channel, SIZE.size)
    return None if head is None else _exactly(channel, SIZE.unpack(head)[0])


def _exactly(channel: socket.socket, size: int) -> bytes | None:
    parts = []
    while size:
        part = channel.recv(min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
