"""Servers that stand for object stores: each a process of its own on a free port, ended by its id."""

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

_WAIT = 60


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def server(arguments, port, **variables):
    process = subprocess.Popen(
        [sys.executable, *arguments], env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process, port):
    end = time.monotonic() + _WAIT
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended at once with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("the server does not answer")
