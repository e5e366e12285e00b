"""How a large file tells that its bytes were verified: by its own time of last change.

Hashing a file of many GiB each time it is opened would make memory-mapping useless. So a file that was hashed (while it was written, or when
it was first read) gets a time of last change whose nanoseconds are made from its digest. Whoever writes to the file later changes that time,
and the next reader hashes the file again. Nothing else has to be kept or agreed upon between processes and machines; a file system that keeps
no nanoseconds only makes readers hash more often.
"""

from __future__ import annotations

import contextlib
import os
import time

FROM = 4 << 20
"""Bytes from which on a file is marked; smaller ones are hashed each time, which takes a millisecond or two."""
_SECOND = 10**9


def _nanoseconds(digest: str) -> int:
    return 1 + int(digest.rpartition(":")[2][:12], 16) % (_SECOND - 1)


def mark(path: str | os.PathLike[str], digest: str) -> None:
    """Mark a file whose bytes have just been seen to have a digest."""
    with contextlib.suppress(OSError):  # not our file: it is hashed again next time
        stat = os.stat(path)  # noqa: PTH116
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns // _SECOND * _SECOND + _nanoseconds(digest)))


def is_marked(stat: os.stat_result, digest: str) -> bool:
    """Tell whether nobody wrote to a file since it was marked."""
    return stat.st_mtime_ns % _SECOND == _nanoseconds(digest)


def touch(path: str | os.PathLike[str]) -> None:
    """Note that a file was used just now, in its time of last access; its mark stays."""
    os.utime(path, ns=(time.time_ns(), os.stat(path).st_mtime_ns))  # noqa: PTH116
