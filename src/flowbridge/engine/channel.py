"""Whole messages over a pair of sockets between a driver and the process that starts its tasks."""

from __future__ import annotations

import socket

LARGEST = 1 << 20
_PIECE = 1 << 16
_LENGTH = 4
_PACKETS = getattr(socket, "SOCK_SEQPACKET", None)


class Channel:
    """One end of a pair: packets where the system has them, else a stream in which each message has its length before it."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._framed = end.type != _PACKETS
        self._held = b""

    @classmethod
    def pair(cls, *, framed: bool = False) -> tuple[Channel, Channel]:
        """Return both ends of a new pair.

        Args:
            framed: Use a stream even where packets could be had.
        """
        kind = socket.SOCK_STREAM if framed or not _supports_packets() else _PACKETS
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind or socket.SOCK_STREAM)
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a message comes."""
        return self.socket.fileno()

    def send(self, message: bytes) -> None:
        """Send one message, whole.

        Raises:
            BlockingIOError: There is no room for a packet, and this end does not wait.
            ConnectionError: Nobody is at the other end.
            OSError: It is too large for a packet.
        """
        if not self._framed:
            self.socket.send(message)
            return
        waits = self.socket.getblocking()
        self.socket.setblocking(True)  # noqa: FBT003  (as the socket module has it)
        self.socket.sendall(len(message).to_bytes(_LENGTH, "little") + message)
        self.socket.setblocking(waits)

    def receive(self) -> bytes:
        """Return the next message; empty bytes once the other end has gone.

        Raises:
            BlockingIOError: None has come, and this end does not wait.
        """
        try:
            return self._next_framed() if self._framed else self.socket.recv(LARGEST)
        except ConnectionError:
            return b""

    def _next_framed(self) -> bytes:
        while True:
            size = int.from_bytes(self._held[:_LENGTH], "little") if len(self._held) >= _LENGTH else None
            if size is not None and len(self._held) >= _LENGTH + size:
                message, self._held = self._held[_LENGTH : _LENGTH + size], self._held[_LENGTH + size :]
                return message
            part = self.socket.recv(_PIECE)
            if not part:
                return b""
            self._held += part

    def send_long(self, content: bytes) -> None:
        """Send something that may be longer than a message can be; the other end takes it with `receive_long`."""
        self.send(len(content).to_bytes(8, "little"))
        for start in range(0, len(content), _PIECE):
            self.send(content[start : start + _PIECE])

    def receive_long(self) -> bytes:
        """Return what the other end sent with `send_long`; shorter if it went away meanwhile."""
        size = int.from_bytes(self.receive(), "little")
        parts: list[bytes] = []
        while size > 0 and (part := self.receive()):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close this end."""
        self.socket.close()


def _supports_packets() -> bool:
    if _PACKETS is None:
        return False
    try:
        ends = socket.socketpair(socket.AF_UNIX, _PACKETS)
    except OSError:  # macOS has the name and not the thing
        return False
    for end in ends:
        end.close()
    return True
