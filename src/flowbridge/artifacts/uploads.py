"""Uploads to S3 that were begun and never finished: their parts are in no listing, and are paid for until somebody ends them.

A writer that fails ends its own; one that is killed cannot. Here they look like left-over files, of paths that no object of a store has.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Iterator
from typing import Any

_MARK = "?upload="


def unfinished(fs: Any, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a path, and the facts of a listing, for each upload whose target begins with a prefix.

    Nothing where the server does not know of them, or does not let us look: who may not see them could not end them either.
    """
    bucket, key, _ = fs.split_path(prefix)
    try:
        for upload in _pages(fs, "list_multipart_uploads", "Uploads", {"Bucket": bucket, "Prefix": key}, _MORE_UPLOADS):
            target = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
            try:
                size = sum(part["Size"] for part in _pages(fs, "list_parts", "Parts", target, _MORE_PARTS))
            except FileNotFoundError:  # finished, or ended, since it was listed
                continue
            yield f"{bucket}/{upload['Key']}{_MARK}{upload['UploadId']}", {"size": size, "LastModified": upload["Initiated"]}
    except (PermissionError, FileNotFoundError):  # the latter of a bucket
        return
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise


def is_upload(path: str) -> bool:
    """Tell whether a path stands for an upload."""
    return _MARK in path


def end(fs: Any, paths: Iterable[str]) -> None:
    """End uploads; those that are over already are no error."""
    for path in paths:
        target, _, upload = path.partition(_MARK)
        bucket, key, _ = fs.split_path(target)
        with contextlib.suppress(FileNotFoundError):
            fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload)


_MORE_UPLOADS = {"NextKeyMarker": "KeyMarker", "NextUploadIdMarker": "UploadIdMarker"}
_MORE_PARTS = {"NextPartNumberMarker": "PartNumberMarker"}


def _pages(fs: Any, method: str, name: str, request: dict[str, Any], markers: dict[str, str]) -> Iterator[dict[str, Any]]:
    while True:
        answer = fs.call_s3(method, **request)
        yield from answer.get(name, [])
        if not answer.get("IsTruncated"):
            return
        request = {**request, **{given: answer[told] for told, given in markers.items() if answer.get(told)}}
