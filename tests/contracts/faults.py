"""An HTTP proxy in front of a server that stands for an object store. It breaks the exchanges it is told to break."""

import http.client
import io
import socket
import struct
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
INTERNAL = (
    b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>We encountered an internal error. Please try again.</Message></Error>"
)
SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass
class Fault:
    """What is done to an exchange.

    Attributes:
        status: Answer this, with `body`, and do not ask the server.
        body: Of the answer that is given instead.
        forward: Let the server do what was asked, then go on with the fault.
        reset: Reset the connection instead of answering.
        keep: Send only this part of the answer's body.
        honest: Tell the number of bytes that are sent, not of those that there are.
        stall: Seconds to wait before the answer, or in the middle of its body where only a part is kept.
    """

    status: int = 0
    body: bytes = b""
    forward: bool = True
    reset: bool = False
    keep: float | None = None
    honest: bool = False
    stall: float = 0.0


class FaultProxy:
    """Asks `rule` about each exchange: a function of method, path with query, and headers that returns a fault or None.

    Attributes:
        url: Where to reach it.
        seen: Method and path of every request.
    """

    def __init__(self, target):
        self.rule = lambda *_: None
        self.seen = []
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._server.target = (urlsplit(target).hostname, urlsplit(target).port)
        self._server.daemon_threads = True
        self._server.request_queue_size = 64
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def asked(self, method, path, headers):
        with self._lock:
            self.seen.append((method, path))
            return self.rule(method, path, headers)

    def count(self, method="", part=""):
        return sum(m.startswith(method) and part in p for m, p in self.seen)

    def reset(self):
        self.rule = lambda *_: None
        self.seen.clear()


@contextmanager
def fault_proxy(target):
    proxy = FaultProxy(target)
    thread = threading.Thread(target=proxy._server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.stopped.set()
        proxy._server.shutdown()
        proxy._server.server_close()
        thread.join()


def times(number, fault, wanted=lambda *_: True):
    """Make a rule that breaks the first exchanges that are wanted."""
    left = [number]

    def rule(*exchange):
        if left[0] and wanted(*exchange):
            left[0] -= 1
            return fault
        return None

    return rule


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Say nothing."""

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except OSError:  # the client gave up
            self.close_connection = True

    def exchange(self):
        body = self._body()
        fault = self.server.proxy.asked(self.command, self.path, self.headers) or Fault()
        if fault.keep is None and fault.stall and self.server.proxy.stopped.wait(fault.stall):
            self._cut()
            return
        if fault.forward and not (fault.status and not fault.reset):
            status, headers, answer = self._forward(body)
        else:
            status, headers, answer = fault.status, [("Content-Type", "application/xml")], fault.body
        if fault.reset:
            self._cut()
            return
        self._answer(status, headers, answer, fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = exchange

    def _body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _forward(self, body):
        there = http.client.HTTPConnection(*self.server.target, timeout=120)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP | {"expect"}}
        there.request(self.command, self.path, body=body, headers=headers)
        answer = there.getresponse()
        data = answer.read()
        there.close()
        return answer.status, answer.getheaders(), data

    def _answer(self, status, headers, answer, fault):
        sent = answer if fault.keep is None else answer[: int(len(answer) * fault.keep)]
        told = len(sent) if fault.honest or (self.command != "HEAD" and fault.keep is None) else len(answer)
        length = [v for k, v in headers if k.lower() == "content-length"] if self.command == "HEAD" else [str(told)]
        self.send_response_only(status)
        for key, value in headers:
            if key.lower() not in _HOP:
                self.send_header(key, value)
        self.send_header("Content-Length", (length or ["0"])[0])
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(sent)
        self.wfile.flush()
        if fault.keep is not None and fault.stall:
            self.server.proxy.stopped.wait(fault.stall)
        if len(sent) != told:
            self._cut()

    def _cut(self):
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.wfile = io.BytesIO()  # for what is flushed afterwards
