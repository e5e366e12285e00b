"""A `Path` that a step returns: the file or folder itself, streamed into the store and out again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from flowbridge.artifacts.blobs import chunks_of
from flowbridge.artifacts.serializers.base import Meta, Sink, Source
from flowbridge.errors import ArtifactDamagedError, SerializationError


class PathSerializer:
    """Files and folders. The main blob lists names, sizes, modes and digests; every file is a blob of its own."""

    name = "path"
    version = 1

    def save(self, value: Path, sink: Sink) -> Meta:
        """Stream the file, or every file of the folder; equal files are kept once."""
        if not value.exists():
            raise SerializationError(
                f"{sink.name or 'A value'} is the path {str(value)!r}, and nothing stands there. "
                "A path that is passed between steps is the file or folder itself; for just the name, use str"
            )
        root = value.resolve()
        members = list(_members(root)) if root.is_dir() else [("", root)]
        files = []
        for name, path in members:
            digest, size = sink.part(chunks_of(path))
            files.append([name, digest, size, path.stat().st_mode & 0o777])
        folders = sorted(str(p.relative_to(root).as_posix()) for p in root.rglob("*") if p.is_dir()) if root.is_dir() else []
        listing = {"name": value.name or root.name or "file", "folder": root.is_dir(), "files": files, "folders": folders}
        sink.write(json.dumps(listing, separators=(",", ":")).encode(errors="surrogateescape"))
        return (("name", value.name), ("files", len(files)))

    def load(self, source: Source) -> Path:
        """Put the file or folder somewhere of its own on this machine, where the step may change it."""
        listing = _listing(source)
        base = source.store.work
        if base is not None:
            base.mkdir(parents=True, exist_ok=True)
        target = Path(tempfile.mkdtemp(prefix="flowbridge-in-", dir=base)) / _safe(listing["name"])
        if not listing["folder"]:
            self._fetch(source, listing["first"], target)
            return target
        target.mkdir()
        for folder in listing["folders"]:
            (target / _safe(folder)).mkdir(parents=True, exist_ok=True)
        for entry in listing["files"]:
            self._fetch(source, entry, target / _safe(entry[0]))
        return target

    def _fetch(self, source: Source, entry: list[Any], target: Path) -> None:
        _, digest, size, mode = entry
        target.parent.mkdir(parents=True, exist_ok=True)
        found = source.store.blobs.file(digest)
        if found.stat().st_size != size:
            raise ArtifactDamagedError(
                f"The file {entry[0] or target.name} of a saved path has {found.stat().st_size} bytes instead of {size}"
            )
        shutil.copyfile(found, target)
        target.chmod((mode & 0o777) | 0o600)

    def parts(self, source: Source) -> Iterable[str]:
        """Return the digest of every file."""
        return [entry[1] for entry in _listing(source)["files"]]


def _members(root: Path) -> Iterator[tuple[str, Path]]:
    for folder, names, files in os.walk(root):
        names.sort()
        for name in sorted(files):
            path = Path(folder) / name
            if not path.resolve().is_relative_to(root):
                raise SerializationError(f"{path} is a link to something outside the folder {root}, which would not be there elsewhere")
            if path.is_file():
                yield path.relative_to(root).as_posix(), path
        for name in names:
            if (Path(folder) / name).is_symlink():
                raise SerializationError(f"{Path(folder) / name} is a link to a folder; make it a folder of its own")


def _listing(source: Source) -> dict[str, Any]:
    try:
        listing = json.loads(source.bytes())
        first = None if listing["folder"] else listing["files"][0]
        return {"first": first, **{key: listing[key] for key in ("name", "folder", "files", "folders")}}
    except (ValueError, LookupError, TypeError) as error:
        raise ArtifactDamagedError(f"The list of files of a saved path cannot be read: {error}") from error


def _safe(name: str) -> str:
    """Return a relative name that stays inside the folder it is put in.

    Raises:
        ArtifactDamagedError: It is absolute or goes upwards: whoever wrote the store is not to be trusted.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\\" in name or "\0" in name:
        raise ArtifactDamagedError(f"A saved folder names the file {name!r}, which would be written outside the folder; it is not loaded")
    return name
