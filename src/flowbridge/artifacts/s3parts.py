"""The parts of large objects on S3, through botocore's own client in threads.

s3fs serves all requests of a process in one thread, which signs, encrypts and copies for all of them: one large object then does not fill a
fast line. botocore is what s3fs is built on; its client may be used by any number of threads. It is made from the same options, and where they
hold something that only s3fs knows what to do with, the parts go through s3fs.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from typing import Any

CONNECTIONS = 10
_SENT = 1 << 18
_KNOWN = frozenset(
    {"key", "secret", "token", "username", "password", "endpoint_url", "client_kwargs", "config_kwargs", "skip_instance_cache"}
)
_locks: dict[int, threading.Lock] = {}
"""One for each process: a fork may come while another thread has its parent's."""


def is_s3(fs: Any) -> bool:
    """Tell whether a file system is that of s3fs, or one like it."""
    return hasattr(fs, "call_s3") and hasattr(fs, "split_path")


class Parts:
    """Sends and fetches parts of objects. What S3 answers is told as s3fs tells it: what is forbidden, or absent, is not asked for again.

    Args:
        client: A client of botocore.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def send(self, bucket: str, key: str, number: int, upload: str, body: memoryview) -> str:
        """Send one part of an upload; return its tag."""
        with _translated():
            answer = self._client.upload_part(Bucket=bucket, Key=key, PartNumber=number, UploadId=upload, Body=_Body(body))
        return str(answer["ETag"])

    def fetch(self, bucket: str, key: str, start: int, stop: int) -> bytes:
        """Return some of the bytes of an object."""
        with _translated(), self._client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}")["Body"] as body:
            return bytes(body.read())


class _Body:
    """Memory as a file that can be read again: botocore sends bytes only after it has copied them.

    Args:
        view: The memory.
    """

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def __len__(self) -> int:
        return len(self._view)

    def read(self, size: int = -1) -> memoryview:
        """Return the next bytes; more than are asked for, as the client asks for 16 KiB at a time, which costs more than sending them."""
        start, self._at = self._at, len(self) if size < 0 else min(self._at + max(size, _SENT), len(self))
        return self._view[start : self._at]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self)}[whence])
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at


def _send_at_once(params: dict[str, Any], **_: Any) -> None:
    """Do not ask before each part whether it may come, which takes as long as a part on a slow line: the first answer told that already."""
    params["headers"].pop("Expect", None)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    from botocore.exceptions import ClientError  # type: ignore[import-untyped]  # noqa: PLC0415  (s3fs brings it)
    from s3fs.errors import translate_boto_error  # noqa: PLC0415  (only for a file system of s3fs)

    try:
        yield
    except ClientError as error:
        raise translate_boto_error(error) from error


def parts_of(fs: Any) -> Parts | None:
    """Return what sends the parts for a file system of s3fs; None where that must do it itself."""
    options = getattr(fs, "storage_options", {})
    if type(fs).__module__.partition(".")[0] != "s3fs" or not options.keys() <= _KNOWN:
        return None
    with _locks.setdefault(os.getpid(), threading.Lock()):  # a session of botocore makes one client at a time
        if not hasattr(fs, "_flowbridge_parts"):  # it lives as long as the file system does
            client = _client(options, getattr(fs, "session", None))
            fs._flowbridge_parts = None if client is None else Parts(client)  # noqa: SLF001
    made: Parts | None = fs._flowbridge_parts  # noqa: SLF001
    return made


def _client(options: dict[str, Any], theirs: Any) -> Any:
    """Make a client as s3fs makes its own; None where some of the options are for s3fs's own only.

    Args:
        options: Of the file system.
        theirs: Its session, once it has one: what that read of S3's description, 14 MiB in memory, serves here as well.
    """
    from botocore.config import Config  # type: ignore[import-untyped]  # noqa: PLC0415  (s3fs brings it)

    given = {
        "aws_access_key_id": options.get("key") or options.get("username"),
        "aws_secret_access_key": options.get("secret") or options.get("password"),
        "aws_session_token": options.get("token"),
        "endpoint_url": options.get("endpoint_url"),
        **options.get("client_kwargs", {}),
    }
    session = _session(os.getpid())
    if theirs is not None:
        session.register_component("data_loader", theirs.get_component("data_loader"))
    try:
        config = Config(**{"max_pool_connections": CONNECTIONS, **options.get("config_kwargs", {})})
        client = session.create_client("s3", config=config, **{k: v for k, v in given.items() if v is not None})
    except TypeError:  # an option of aiobotocore, such as connector_args
        return None
    client.meta.events.register_last("before-call.s3.UploadPart", _send_at_once)
    return client


@functools.cache
def _session(pid: int) -> Any:
    """Return a session, one for each process: what it reads of S3 takes a while to load."""
    from botocore.session import get_session  # type: ignore[import-untyped]  # noqa: PLC0415

    del pid
    return get_session()
