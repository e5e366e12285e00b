"""A `Path` that a step returns: the file or folder itself, streamed into the store and out again."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from flowbridge.artifacts.serializers.base import Meta, Sink, Source
from flowbridge.errors import ArtifactDamagedError, SerializationError

_TOGETHER = 1 << 20
"""Bytes up to which a file of a folder shares a blob with others."""
_PACK = 16 << 20
_RESERVED = frozenset({"con", "prn", "aux", "nul"})


class PathSerializer:
    """Files and folders. The main blob lists names, sizes and where the bytes are; small files of a folder share blobs."""

    name = "path"
    version = 1

    def save(self, value: Path, sink: Sink) -> Meta:
        """Stream the file, or every file of the folder."""
        if not value.exists():
            raise SerializationError(
                f"{sink.name or 'A value'} is the path {str(value)!r}, and nothing stands there. "
                "A path that is passed between steps is the file or folder itself; for just the name, use str"
            )
        name = value.name if value.name not in {"", "..", "."} else value.resolve().name or "file"
        is_folder = value.is_dir()
        files, folders = _folder(value, sink) if is_folder else ([_file("", value, sink)], [])
        listing = {"name": name, "folder": is_folder, "files": files, "folders": folders}
        sink.write(json.dumps(listing, separators=(",", ":")).encode())
        return (("name", name), ("files", len(files)))

    def load(self, source: Source) -> Path:
        """Put the file or folder somewhere of its own on this machine, where the step may change it."""
        listing = _listing(source)
        target = source.folder() / _safe(listing["name"], single=True)
        place_files(source, listing, target)
        return target


def place_files(source: Source, listing: dict[str, Any], target: Path) -> None:
    """Write what a listing names to a path at which nothing stands yet."""
    if not listing["folder"]:
        _place(source, listing["files"][0], target)
        return
    places = {_safe(entry["name"]): entry for entry in listing["files"]}  # every name is looked at before anything is written
    folders = [_safe(name) for name in listing["folders"]]
    target.mkdir(parents=True)
    for folder in folders:
        (target / folder).mkdir(parents=True, exist_ok=True)
    packs: dict[str, bytes] = {}
    for name, entry in places.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        _place(source, entry, target / name, packs)


def _place(source: Source, entry: dict[str, Any], target: Path, packs: dict[str, bytes] | None = None) -> None:
    with target.open("xb") as file:  # never over something that is there, nor through a link
        if "start" in entry:
            packs = {} if packs is None else packs
            pack = packs.get(entry["digest"])
            if pack is None:
                packs.clear()  # files come in the order of their packs
                pack = packs[entry["digest"]] = source.part_bytes(entry)
            file.write(memoryview(pack)[entry["start"] : entry["start"] + entry["length"]])
        else:
            with source.part(entry) as stored:
                _copy(stored, file)
    if entry.get("executable"):
        mode = target.stat().st_mode
        target.chmod(mode | (mode & 0o444) >> 2)  # for all who may read it


def _copy(source: Any, target: Any) -> None:
    try:
        count = os.fstat(source.fileno()).st_size
        position = 0
        while position < count:
            copied = os.copy_file_range(source.fileno(), target.fileno(), count - position, position, position)
            if not copied:
                raise ArtifactDamagedError(f"A file of {count} bytes was cut short to {position} while it was read")
            position += copied
    except (OSError, AttributeError, ValueError):  # not on this system, or not between these file systems
        source.seek(0)
        target.seek(0)
        target.truncate()
        shutil.copyfileobj(source, target, 8 << 20)


# --- saving -------------------------------------------------------------------------------------------------------------------


def _folder(root: Path, sink: Sink) -> tuple[list[dict[str, Any]], list[str]]:
    files: list[dict[str, Any]] = []
    folders: list[str] = []
    waiting: list[dict[str, Any]] = []
    data = bytearray()
    for name, path in _members(root, "", (_identity(root),)):
        if path.is_dir():
            folders.append(name)
        elif path.stat().st_size > _TOGETHER:
            files.append(_file(name, path, sink))
        else:
            content = path.read_bytes()
            waiting.append({"name": name, "start": len(data), "length": len(content), **_mode(path)})
            data += content
            if len(data) >= _PACK:
                files += _pack(waiting, data, sink)
    return files + _pack(waiting, data, sink), folders


def _pack(waiting: list[dict[str, Any]], data: bytearray, sink: Sink) -> list[dict[str, Any]]:
    kept = sink.part(bytes(data)) if waiting else {}
    packed = [{**entry, **kept} for entry in waiting]
    waiting.clear()
    data.clear()
    return packed


def _file(name: str, path: Path, sink: Sink) -> dict[str, Any]:
    before = path.stat()
    if not stat.S_ISREG(before.st_mode):
        raise SerializationError(f"{path} is neither a file nor a folder, so it cannot be stored; return a path to a file")
    kept = sink.part_from(path)
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or kept["size"] != after.st_size:
        raise SerializationError(
            f"{path} was written to while it was being stored. Close the file, and wait for who writes it, before returning"
        )
    return {"name": name, **kept, **_mode(path)}


def _mode(path: Path) -> dict[str, Any]:
    return {"executable": True} if path.stat().st_mode & stat.S_IXUSR else {}


def _members(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, Path]]:
    """Yield every file and folder with its name in the root folder; links are followed, as their targets may not be there elsewhere."""
    for path in sorted(folder.iterdir()):
        name = prefix + _portable(path)
        if path.is_dir():
            if _identity(path) in above:
                raise SerializationError(f"{path} is a link to a folder that it is in itself; remove it before returning the folder")
            yield name, path
            yield from _members(path, f"{name}/", (*above, _identity(path)))
        elif path.is_file():
            yield name, path
        else:
            kind = "a link to nothing" if path.is_symlink() else "neither a file nor a folder"
            raise SerializationError(f"{path} is {kind}, so it cannot be stored; remove it before returning the folder")


def _portable(path: Path) -> str:
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise SerializationError(f"The name of the file {os.fsencode(path)!r} is not UTF-8, so it cannot be stored; rename it") from None
    return path.name


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


# --- reading ------------------------------------------------------------------------------------------------------------------


def _listing(source: Source) -> dict[str, Any]:
    try:
        listing: dict[str, Any] = json.loads(source.manifest())
        _check(listing, source.ref.size)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ArtifactDamagedError(f"The list of files of a saved path cannot be read: {error}") from error
    return listing


def _check(listing: dict[str, Any], size: int) -> None:
    if not listing["folder"] and len(listing["files"]) != 1:
        raise ValueError("a file with several parts")
    if not {"name", "folders"} <= listing.keys() or not all({"name", "digest", "size"} <= entry.keys() for entry in listing["files"]):
        raise ValueError("something is missing in it")
    for entry in listing["files"]:
        if "start" in entry and not 0 <= entry["start"] <= entry["start"] + entry["length"] <= int(entry["size"]):
            raise ValueError("a file outside its blob")
    told = sum(int(entry["length"] if "start" in entry else entry["size"]) for entry in listing["files"])
    if told > size:  # one blob can be named for any number of files
        raise ValueError(f"files of {told} bytes together, and its reference tells of {size}")


def _safe(name: Any, *, single: bool = False) -> str:
    """Return a relative name that stays inside the folder it is put in.

    Raises:
        ArtifactDamagedError: It is absolute or goes upwards: whoever wrote the store is not to be trusted.
    """
    parts = PurePosixPath(name).parts if isinstance(name, str) else ()
    bad = not parts or name.startswith("/") or ".." in parts or any(_is_unsafe(part) for part in parts) or (single and len(parts) != 1)
    if bad:
        raise ArtifactDamagedError(f"A saved folder names the file {name!r}, which would be written outside the folder; it is not loaded")
    return str(name)


def _is_unsafe(part: str) -> bool:
    if "\0" in part:
        return True
    return os.name == "nt" and (":" in part or "\\" in part or part.partition(".")[0].lower() in _RESERVED)
