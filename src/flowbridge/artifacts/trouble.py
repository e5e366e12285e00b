"""What file systems say, turned into errors that tell what to do."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator

from flowbridge.errors import ArtifactNotFoundError, StoreError, StoreFullError, StoreUnavailableError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_ONLY = frozenset({405, 501})
GARBLED = (json.JSONDecodeError, UnicodeError)
"""Errors for an answer that was cut short, though they are `ValueError` too."""
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


def refuse(url: str, what: str, path: str, error: Exception) -> None:
    """Raise for what it would not help to ask of a file system again."""
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, FileNotFoundError):
        if what == "write":
            raise StoreUnavailableError(f"The store {url} cannot be written: {error}. Does the bucket or share exist?") from error
        raise not_found(url, path) from error
    if isinstance(error, PermissionError):
        raise StoreUnavailableError(
            f"The store {url} does not allow to {what} {path}: {error}. Check the credentials in the profile's store_options"
        ) from error
    if isinstance(error, OSError) and error.errno in FULL:
        raise StoreFullError(f"The store {url} is full: cannot {what} {path}. Free some room (flowbridge gc)") from error
    if isinstance(error, NotImplementedError) or getattr(error, "status", None) in _READ_ONLY:
        raise StoreUnavailableError(
            f"The store {url} cannot {what} {path}: places of this kind, or this server, can only be read ({said}). Name another with --store or FLOWBRIDGE_STORE"
        ) from error
    if isinstance(error, GARBLED):
        return
    if isinstance(error, (TypeError, ValueError, ImportError, AttributeError)) or type(error).__name__ == "ParamValidationError":
        raise StoreUnavailableError(
            f"The store {url} cannot {what} {path}: {said}. Check the store's URL and the profile's store_options"
        ) from error


def no_answer(url: str, what: str, path: str, error: Exception, times: int) -> StoreUnavailableError:
    """Return the error for a request that failed again and again."""
    if "Credentials" in type(error).__name__:
        todo = (
            "Give credentials in the profile's store_options, or where the client of this kind of store looks for them (variables, files)"
        )
    else:
        todo = (
            "Nothing half-written is visible there; try again when the store answers, and check the endpoint in the profile's store_options"
        )
    return StoreUnavailableError(f"The store {url} did not {what} {path}, tried {times} times: {type(error).__name__}: {error}. {todo}")
