"""What file systems say, turned into errors that tell what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from flowbridge.errors import ArtifactNotFoundError, StoreError, StoreFullError, StoreUnavailableError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


@contextlib.contextmanager
def writing(url: str, path: str, temporary: str | None = None) -> Iterator[None]:
    """Turn errors while writing, and leave no temporary file behind whatever happens."""
    try:
        yield
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108  (text: this is a hot path)
        if isinstance(error, StoreError) or not isinstance(error, OSError):
            raise
        raise cannot_write(url, path, error) from error


def cannot_write(url: str, path: str, error: OSError) -> StoreError:
    """Return the error for a write that the file system refused."""
    if error.errno in FULL:
        return StoreFullError(
            f"The store {url} is full: writing {path} failed, and nothing of it is left there. "
            "Free some room (flowbridge gc shows what can go), or set another store"
        )
    return StoreUnavailableError(
        f"The store {url} cannot be written: {error.strerror or error} ({path}). "
        "Check that the folder exists and is yours, or set another with --store or FLOWBRIDGE_STORE"
    )


@contextlib.contextmanager
def reading(url: str, path: str) -> Iterator[None]:
    """Turn errors while reading."""
    try:
        yield
    except StoreError:
        raise
    except _ABSENT as error:
        raise not_found(url, path) from error
    except OSError as error:
        raise StoreUnavailableError(f"Reading {path} in the store {url} failed: {error.strerror or error}") from error


def not_found(url: str, path: str) -> ArtifactNotFoundError:
    """Return the error for a path at which nothing stands."""
    return ArtifactNotFoundError(f"Nothing stands at {path} in the store {url}: it was removed, or never written. Run again what made it")
