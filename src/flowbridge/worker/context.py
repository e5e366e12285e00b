"""What a step sees around it and can tell about itself: `context()`, `log_metric` and the rest of the API inside a step."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.artifacts.folders import folder_within, task_folder
from flowbridge.errors import FlowbridgeError, UsageError
from flowbridge.ir.resources import Resources
from flowbridge.records.models import Saved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowbridge.artifacts.reference import Reference
    from flowbridge.artifacts.store import Store
    from flowbridge.ir.base import JsonValue
    from flowbridge.records.files import RunFiles

_PNG = ".png"


class NoContextError(UsageError, RuntimeError):
    """`context()` or `checkpoint()` was called where no task runs."""


class Context:
    """The task that is running.

    Attributes:
        run_id: Id of the run.
        flow: Name of the flow.
        step: Id of the step in the flow: its name, with the groups it stands in and a number for further calls.
        index: One position for each map around the step; empty outside of maps.
        attempt: Counted from 0.
        resources: As declared.
    """

    def __init__(
        self, *, files: RunFiles, store: Store, step: str, index: tuple[int, ...] = (), attempt: int = 0, resources: Resources | None = None
    ) -> None:
        self.run_id = files.run_id
        self.flow = files.flow
        self.step = step
        self.index = index
        self.attempt = attempt
        self.resources = resources or Resources()
        self._files = files
        self._store = store
        self._scratch: Path | None = None
        self._task = (step, index)
        self._lock = threading.Lock()
        self._series: dict[str, list[tuple[float | None, float]]] = {}
        self._params: dict[str, JsonValue] = {}
        self._extras: dict[str, Reference] = {}

    @property
    def scratch(self) -> Path:
        """A local folder of this task's own, made on first use and removed when the task ends."""
        with self._lock:
            if self._scratch is None:
                prefix, folder = f"flowbridge-{self.step}-".replace("/", "_"), task_folder()
                self._scratch = Path(tempfile.mkdtemp(prefix=prefix)) if folder is None else folder_within(folder, prefix)
            return self._scratch

    def __repr__(self) -> str:
        """Show which task it is."""
        return f"Context(run_id={self.run_id!r}, flow={self.flow!r}, step={self.step!r}, index={self.index!r}, attempt={self.attempt})"

    # --- what the worker does with it ------------------------------------------------------------------------------------------

    def add_metric(self, name: str, value: float, step: float | None) -> None:
        """Keep one value of a metric."""
        with self._lock:
            self._series.setdefault(name, []).append((step, value))

    def add_param(self, name: str, value: JsonValue) -> None:
        """Keep a parameter."""
        with self._lock:
            self._params[name] = value

    def add_extra(self, name: str, value: Any) -> None:
        """Save a figure, a table or a file beside the outputs."""
        reference = self._store.save(value, name=f"{name!r} logged by step {self.step}")
        with self._lock:
            self._extras[name] = reference

    def told(self) -> dict[str, Any]:
        """Return the fields of the task's record that the step itself filled."""
        with self._lock:
            return {
                "metrics": {name: values[-1][1] for name, values in self._series.items()},
                "series": {name: tuple(values) for name, values in self._series.items() if len(values) > 1},
                "params": dict(self._params),
                "extras": tuple(self._extras.items()),
            }

    def close(self) -> None:
        """Remove the scratch folder."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None


class Checkpoint:
    """Keeps a value for the next attempt of the same task, should this one be cut short. Made by `checkpoint()`."""

    def __init__(self, context_: Context) -> None:
        self._context = context_

    def save(self, value: Any) -> None:
        """Save a value; it replaces the one saved before. When this returns, the value is safe in the store."""
        about = self._context
        reference = about._store.save(value, name=f"the checkpoint of step {about.step}")  # noqa: SLF001  (made for each other)
        about._files.save_checkpoint(*about._task, Saved(reference=reference, attempt=about.attempt))  # noqa: SLF001

    def load(self, default: Any = None) -> Any:
        """Return the value that this attempt, or the latest one before it, saved; `default` where none did."""
        about = self._context
        for attempt in range(about.attempt, -1, -1):
            saved = about._files.checkpoint(*about._task, attempt)  # noqa: SLF001
            if saved is not None:
                return about._store.load(saved.reference)  # noqa: SLF001
        return default


_current: ContextVar[Context | None] = ContextVar("flowbridge_context", default=None)
_running: list[Context] = []


@contextmanager
def running(context_: Context) -> Iterator[Context]:
    """Make a context the current one, and remove its scratch folder at the end."""
    token = _current.set(context_)
    _running.append(context_)
    try:
        yield context_
    finally:
        _running.remove(context_)
        _current.reset(token)
        context_.close()


def current() -> Context | None:
    """Return the context of the running task, also from a thread that the step started; None where no task runs."""
    found = _current.get()
    if found is None and len(_running) == 1:  # threads do not inherit context variables
        return _running[0]
    return found


def context() -> Context:
    """Return the task that is running: run_id, flow, step, index, attempt, resources and a scratch folder.

    Raises:
        NoContextError: No task is running; a step called as a plain function has no context.
    """
    found = current()
    if found is None:
        raise NoContextError("context() is only there while flowbridge runs a step; here the step was called as a plain function")
    return found


def checkpoint() -> Checkpoint:
    """Return the checkpoint of this task: `save(value)` now, `load(default)` in the next attempt.

    Raises:
        NoContextError: No task is running.
    """
    if current() is None:
        raise NoContextError("checkpoint() is only there while flowbridge runs a step; here the step was called as a plain function")
    return Checkpoint(context())


def log_metric(name: str, value: float, step: float | None = None) -> None:
    """Keep a number under a name, in the record of the task. All values are kept; listings show the last.

    Where no task runs, the arguments are checked and nothing else happens, so steps can be called in unit tests.

    Args:
        name: Of the metric.
        value: Any real number; NumPy's and PyTorch's scalars too.
        step: Position in a series, such as the epoch.

    Raises:
        TypeError: The value or step is not a number.
    """
    _check_name("log_metric", name)
    number = _number("log_metric", name, value)
    place = None if step is None else _number("log_metric", f"{name} (step)", step)
    found = current()
    if found is not None:
        found.add_metric(name, number, place)


def log_param(name: str, value: Any) -> None:
    """Keep a small value under a name, in the record of the task. What JSON cannot hold is kept as its text.

    Where no task runs, the arguments are checked and nothing else happens.
    """
    _check_name("log_param", name)
    found = current()
    if found is not None:
        found.add_param(name, _plain(value))


def log_figure(name: str, figure: Any) -> None:
    """Keep a picture beside the outputs of the task: a matplotlib figure (saved as PNG), a path to a file, or its bytes.

    Where no task runs, the arguments are checked and nothing else happens.

    Raises:
        TypeError: The figure is none of these.
    """
    _check_name("log_figure", name)
    if not (isinstance(figure, (bytes, str, Path)) or hasattr(figure, "savefig")):
        raise TypeError(f"log_figure({name!r}, ...) takes a matplotlib figure, a path or bytes, not a {type(figure).__name__}")
    found = current()
    if found is not None:
        found.add_extra(name, _picture(found, name, figure))


def log_table(name: str, table: Any) -> None:
    """Keep a table beside the outputs of the task: a data frame, a list of dicts (rows), or a dict of lists (columns).

    Where no task runs, the arguments are checked and nothing else happens.

    Raises:
        TypeError: The table is none of these.
    """
    _check_name("log_table", name)
    is_frame = hasattr(table, "columns") or hasattr(table, "column_names")
    is_rows = isinstance(table, Sequence) and not isinstance(table, (str, bytes)) and all(isinstance(row, Mapping) for row in table)
    if not (is_frame or is_rows or isinstance(table, Mapping)):
        raise TypeError(f"log_table({name!r}, ...) takes a data frame, a list of dicts or a dict of lists, not a {type(table).__name__}")
    found = current()
    if found is not None:
        found.add_extra(name, table)


def _check_name(function: str, name: object) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"{function}() takes a name first, a str that is not empty; it got {name!r}")


def _number(function: str, name: str, value: Any) -> float:
    if not isinstance(value, (str, bytes)):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    raise TypeError(f"{function}({name!r}, ...) takes a number, not {value!r} of type {type(value).__name__}")


def _plain(value: Any) -> JsonValue:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        return json.loads(json.dumps(value, allow_nan=False))  # type: ignore[no-any-return]
    except (TypeError, ValueError):
        return str(value)


def _picture(context_: Context, name: str, figure: Any) -> Any:
    if isinstance(figure, bytes):
        return figure
    if isinstance(figure, (str, Path)):
        path = Path(figure)
        if not path.is_file():
            raise FlowbridgeError(f"log_figure({name!r}, ...): there is no file {path}")
        return path
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    target = context_.scratch / f"{safe}{_PNG}"
    figure.savefig(target, format="png", bbox_inches="tight")
    return target
