"""The options of a file system: those that are misspelt, and those that a store wants otherwise."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from typing import Any

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
    """Return options of S3 without the checksums that botocore adds: each blob has a digest, what is sent is signed or encrypted, and many servers get them wrong."""
    try:
        from botocore.config import Config  # type: ignore[import-untyped]  # noqa: PLC0415  (s3fs brings it, and loads it anyway)
    except ImportError:  # so does s3fs miss it, and tells
        return options
    names = ("request_checksum_calculation", "response_checksum_validation")
    wanted = {name: "when_required" for name in names if name in Config.OPTION_DEFAULTS}
    return {**options, "config_kwargs": {**wanted, **options.get("config_kwargs", {})}}
