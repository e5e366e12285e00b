"""What the small servers of these tests have in common: requests in a thread each, JSON out, errors as the server words them."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


class Refusal(Exception):
    """The server answers with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class FakeHttp:
    """A server on a port of its own, which answers from the beginning.

    Attributes:
        address: Its URL.
        threads: What it has begun, and waits for in the end.
    """

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_port}"

    def listen(self) -> None:
        """Begin to answer."""
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Wait for what was begun, and stop answering."""
        for thread in self.threads:
            thread.join(30)
        self._http.shutdown()
        self._http.server_close()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Json:
        """Answer one request; a `Refusal` of code 0 closes the connection."""
        raise NotImplementedError

    def told(self, refusal: Refusal) -> Json:
        """Return an error as this server words it."""
        raise NotImplementedError

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None:
                pass

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                try:
                    code, answer = 200, server.answer(self.command, self.path, dict(self.headers), body)
                except Refusal as refusal:
                    if refusal.code == 0:
                        self.connection.close()
                        return
                    code, answer = refusal.code, server.told(refusal)
                data = json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = handle_any

        return Handler
