"""From an exception to a reason: the user's own frames, innermost last, and one sentence for people."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from flowbridge.artifacts.trouble import FULL
from flowbridge.errors import FlowbridgeError, StoreFullError
from flowbridge.packaging.modules import INSTALLED
from flowbridge.records.models import Frame, Reason, ReasonKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_OWN = str(Path(__file__).parents[1]) + "/"
_STDLIB = sysconfig.get_paths()["stdlib"]
_MAX_FRAMES = 50
_MAX_TEXT = 64 * 1024


class OutputError(FlowbridgeError, TypeError):
    """What a step returned does not fit its annotation."""


def reason_of(error: BaseException, *, code_folder: Path | None = None, declared: int | None = None) -> Reason:
    """Return the reason of a task that raised.

    Args:
        error: What was raised.
        code_folder: Where the code bundle is unpacked; files in it are shown by their place in the project.
        declared: Bytes of memory the step declared, for running out of it.
    """
    shown = traceback.TracebackException.from_exception(error, limit=-_MAX_FRAMES)
    _trim(shown, code_folder)
    frames = tuple(_frame(f) for f in shown.stack if not _is_own(f.filename))
    kind = _kind(error)
    internal = isinstance(error, FlowbridgeError) and not frames
    return Reason(
        kind=kind,
        message=_message(error, frames),
        error=type(error).__qualname__,
        traceback=None if internal else "".join(shown.format())[-_MAX_TEXT:],
        frames=frames,
        declared=declared if kind == "out_of_memory" else None,
        exit_code=_exit_code(error),
    )


def _kind(error: BaseException) -> ReasonKind:
    if isinstance(error, MemoryError):
        return "out_of_memory"
    full = isinstance(error, StoreFullError) or (isinstance(error, OSError) and error.errno in FULL)
    return "out_of_disk" if full else "error"


def _exit_code(error: BaseException) -> int | None:
    if not isinstance(error, SystemExit):
        return None
    return error.code if isinstance(error.code, int) else int(error.code is not None)


def _message(error: BaseException, frames: Sequence[Frame]) -> str:
    text = f"{type(error).__qualname__}: {error}" if str(error) else type(error).__qualname__
    if isinstance(error, FlowbridgeError):
        text = str(error)
    if isinstance(error, SystemExit):
        text = f"the step ended its process: sys.exit({error.code!r})"
    if not frames:
        return text
    last = next((f for f in reversed(frames) if _is_users(f.file)), frames[-1])
    return f"{text} ({last.file}:{last.line}, in {last.function})"


def _trim(shown: traceback.TracebackException, code_folder: Path | None) -> None:
    """Take flowbridge's own frames out of a traceback and of those it was caused by; all stay where there are no others."""
    for part in _chain(shown):
        kept = [f for f in part.stack if not _is_own(f.filename)]
        part.stack[:] = [_in_project(f, code_folder) for f in kept or part.stack]


def _chain(shown: traceback.TracebackException | None) -> Iterator[traceback.TracebackException]:
    seen: set[int] = set()
    waiting = [shown]
    while waiting:
        part = waiting.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        waiting += [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]


def _is_own(filename: str) -> bool:
    """Tell flowbridge's frames from the user's; steps inside `flowbridge.testing` count as the user's."""
    return (filename.startswith(_OWN) and not filename.startswith(_OWN + "testing/")) or filename.startswith("<frozen importlib")


def _is_users(filename: str) -> bool:
    """Tell the user's own files from those of the standard library and of installed packages, which an error may come out of."""
    return not filename.startswith((_STDLIB, "<frozen")) and not any(part in INSTALLED for part in Path(filename).parts)


def _in_project(frame: traceback.FrameSummary, code_folder: Path | None) -> traceback.FrameSummary:
    if code_folder is None or not frame.filename.startswith(str(code_folder)):
        return frame
    line = frame.line  # read while the file name still leads to the source
    return traceback.FrameSummary(
        str(Path(frame.filename).relative_to(code_folder)), frame.lineno, frame.name, lookup_line=False, line=line
    )


def _frame(frame: traceback.FrameSummary) -> Frame:
    return Frame(file=frame.filename, line=frame.lineno or 0, function=frame.name, text=frame.line or "")
