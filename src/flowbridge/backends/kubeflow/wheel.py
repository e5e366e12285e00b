"""flowbridge itself as a wheel, for pods that cannot install the version in use from an index: one from a checkout, or a closed network."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from functools import lru_cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flowbridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowbridge.artifacts.store import Store
    from flowbridge.backends.kubeflow.options import KubeflowOptions

THIS = "this"
PACKAGE = "flowbridge"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_METADATA = ("METADATA", "entry_points.txt")


class Wheel(NamedTuple):
    """A wheel in the store: its file name, and where its bytes are."""

    name: str
    path: str


def place_wheel(options: KubeflowOptions, store: Store) -> Wheel | None:
    """Put the wheel that pods install into the store, where they need one, and return where it is.

    Raises:
        ConfigError: The profile names a wheel that does not exist.
    """
    found = _wheel(options)
    if found is None:
        return None
    from flowbridge.artifacts import layout  # noqa: PLC0415  (with fsspec, only when there is a wheel)

    name, data = found
    return Wheel(name, str(layout.blob(store.put_bytes(data))))


def _wheel(options: KubeflowOptions) -> tuple[str, bytes] | None:
    source = options.install
    if source == THIS or (source is None and from_source()):
        return build_wheel()
    if source is None or "://" in source or not source.endswith(".whl"):
        return None
    path = Path(source).expanduser()
    if not path.is_file():
        raise ConfigError(f"kubeflow.install names the wheel {source!r}, which does not exist; build it with: uv build --wheel")
    return path.name, path.read_bytes()


def from_source() -> bool:
    """Say whether this flowbridge was installed from a folder or a file: then no index has just this version."""
    try:
        return distribution(PACKAGE).read_text("direct_url.json") is not None
    except PackageNotFoundError:  # run from its folder, never installed
        return True


@lru_cache(maxsize=1)
def build_wheel() -> tuple[str, bytes]:
    """Return the name and the bytes of a wheel of the flowbridge that is running; the same files give the same bytes.

    Raises:
        ConfigError: It was never installed, so nobody knows what it depends on.
    """
    try:
        about = distribution(PACKAGE)
    except PackageNotFoundError:
        raise ConfigError(
            "flowbridge is run from its folder without being installed, so pods cannot be given a wheel of it: "
            "install it (pip install -e .), or set kubeflow.install to a wheel or a requirement"
        ) from None
    folder = f"{PACKAGE}-{about.version}.dist-info"
    files = {**dict(_package()), **dict(_metadata(about, folder))}
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{folder}/RECORD"] = f"{record}{folder}/RECORD,,\n".encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return f"{PACKAGE}-{about.version}-py3-none-any.whl", target.getvalue()


def _package() -> Iterator[tuple[str, bytes]]:
    root = Path(__file__).parents[2]
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{PACKAGE}/{path.relative_to(root).as_posix()}", path.read_bytes()


def _metadata(about: Distribution, folder: str) -> Iterator[tuple[str, bytes]]:
    for name in _METADATA:
        text = about.read_text(name)
        if text is not None:
            yield f"{folder}/{name}", text.encode()
    yield f"{folder}/WHEEL", b"Wheel-Version: 1.0\nGenerator: flowbridge\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
