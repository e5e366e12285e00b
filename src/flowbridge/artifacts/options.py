"""The options of a file system: those that are misspelt, and those that a store wants otherwise."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Iterable
from typing import Any

from flowbridge.artifacts import patience
from flowbridge.errors import ConfigError

_NEAR = 0.8


def refuse_slips(url: str, options: Iterable[str]) -> None:
    """Look for options that are nearly one of the file system's own: many take whatever they are given, and say nothing.

    Raises:
        ConfigError: There is one.
        ImportError: The package for this kind of URL is not installed.
        ValueError: No file system is known for this kind of URL.
    """
    if "::" in url:  # its options are tables, by protocol
        return
    import fsspec  # noqa: PLC0415  (a local store does without it)

    kinds = inspect.getmro(fsspec.get_filesystem_class(url.partition("://")[0]))
    known = {name for kind in kinds if "__init__" in vars(kind) for name in inspect.signature(vars(kind)["__init__"]).parameters}
    for option in set(options) - known:
        near = difflib.get_close_matches(option, known - {"self", "args", "kwargs"}, n=1, cutoff=_NEAR)
        if near:
            raise ConfigError(f"Unknown option {option!r} in the store_options of {url}. Did you mean {near[0]!r}?")


def of_s3(options: dict[str, Any]) -> dict[str, Any]:
    """Return options of S3 with what the user did not set: timeouts, one attempt, and no checksums.

    botocore's own checksums are left out as each blob has a digest, what is sent is signed or encrypted, and many servers get them wrong.
    """
    try:
        from botocore.config import Config  # type: ignore[import-untyped]  # noqa: PLC0415  (s3fs brings it, and loads it anyway)
    except ImportError:  # so does s3fs miss it, and tells
        return options
    names = ("request_checksum_calculation", "response_checksum_validation")
    wanted: dict[str, Any] = {name: "when_required" for name in names if name in Config.OPTION_DEFAULTS}
    wanted |= {"connect_timeout": patience.CONNECT, "read_timeout": patience.SILENCE, "retries": {"total_max_attempts": 1}}
    return {**options, "config_kwargs": {**wanted, **options.get("config_kwargs", {})}}


def of_gcs(options: dict[str, Any]) -> dict[str, Any]:
    """Return options of gcsfs with timeouts where the user set none: its own let a server be silent for five minutes, six times in a row."""
    try:
        from aiohttp import ClientTimeout  # noqa: PLC0415  (gcsfs brings it, and loads it anyway)
    except ImportError:  # so does gcsfs miss it, and tells
        return options
    logging.getLogger("gcsfs").addHandler(logging.NullHandler())  # what fails is told by us, without a traceback for each request
    return {"requests_timeout": ClientTimeout(total=None, sock_connect=patience.CONNECT, sock_read=patience.SILENCE), **options}
