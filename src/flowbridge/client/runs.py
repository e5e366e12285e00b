"""Find runs again: list, filter, order and compare them by their records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, overload

from flowbridge.artifacts.collect import best_of
from flowbridge.client.options import open_store, profile_of
from flowbridge.client.run import Run
from flowbridge.client.where import Where, ordered
from flowbridge.errors import ConfigError, MissingExtraError, RunNotFoundError, suggest
from flowbridge.records.files import Runs, read_many
from flowbridge.records.models import RunState
from flowbridge.worker.session import RunSession

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowbridge.artifacts.store import Store
    from flowbridge.client.tasks import Task
    from flowbridge.records.files import RunFiles
    from flowbridge.settings import Profile

_STATES: tuple[RunState, ...] = ("pending", "running", "done", "failed", "cancelled")


def get_run(run: str, *, store: str | None = None, profile: str | None = None) -> Run[Any]:
    """Return a run of the store.

    Args:
        run: Its id, the start or the last part of it where that is enough, or ``"latest"``.
        store: URL of the store; None: the configured one.
        profile: Name of a profile.

    Raises:
        RunNotFoundError: No run goes by that name, or several do.
        ConfigError: The configuration is wrong.
    """
    settings = profile_of(profile, store=store)
    opened = open_store(settings)
    known = Runs(opened.content)
    return _run(opened, known.latest() if run.lower() == "latest" else known.find(run), settings)


def runs(
    *,
    flow: str | None = None,
    status: RunState | str | None = None,
    where: str | None = None,
    order_by: str | None = None,
    limit: int | None = None,
    store: str | None = None,
    profile: str | None = None,
) -> RunList:
    """Return the runs of a store, newest first.

    Args:
        flow: Of this flow only.
        status: In this state only.
        where: A condition, such as ``"params.lr < 0.1 and metrics.auc > 0.9"``, over the fields of a listing. It is parsed, never executed.
        order_by: A field, such as ``"metrics.auc"``; with a ``-`` in front, the greatest first. Runs that lack it come last.
        limit: At most so many.
        store: URL of the store; None: the configured one.
        profile: Name of a profile.

    Raises:
        UsageError: The condition, the field or the state does not exist, or the configuration is wrong.
    """
    if status is not None and status not in _STATES:
        raise ConfigError(f"Unknown status {status!r}. Known: {', '.join(_STATES)}.{suggest(status, _STATES)}")
    condition = Where.parse(where) if where is not None else None
    settings = profile_of(profile, store=store)
    opened = open_store(settings)
    known = Runs(opened.content)
    found = sorted((_run(opened, files, settings) for files in known.read(known.list(flow))), key=lambda r: r.created, reverse=True)
    if status is not None:
        states = read_many(opened.content, lambda run: run.status, found)
        found = [run for run, state in zip(found, states, strict=True) if state == status]
    if condition is None and order_by is None:
        return RunList(found[:limit])
    rows = list(zip(found, RunList(found).rows(), strict=True))
    if condition is not None:
        rows = [(run, row) for run, row in rows if condition.holds(row)]
    if order_by is not None:
        rows = ordered(rows, order_by, lambda pair: pair[1])
    return RunList(run for run, _ in rows[:limit])


def _run(store: Store, files: RunFiles, profile: Profile) -> Run[Any]:
    return Run(RunSession(store, files, None, None), profile=profile)


class RunList(Sequence[Run[Any]]):
    """Some runs, in order."""

    def __init__(self, found: Iterable[Run[Any]]) -> None:
        self._runs = tuple(found)

    @overload
    def __getitem__(self, key: int) -> Run[Any]: ...

    @overload
    def __getitem__(self, key: slice) -> RunList: ...

    def __getitem__(self, key: int | slice) -> Run[Any] | RunList:
        """Return one run, or several."""
        return RunList(self._runs[key]) if isinstance(key, slice) else self._runs[key]

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run[Any]]:
        return iter(self._runs)

    def best(self, metric: str, mode: Literal["max", "min"] = "max") -> Run[Any]:
        """Return the run with the greatest (or least) value of a metric; the newest of equals.

        Raises:
            RunNotFoundError: No run has that metric.
        """
        if mode not in ("max", "min"):
            raise ConfigError(f"mode={mode!r}: expected 'max' or 'min'")
        name = metric.removeprefix("metrics.")
        found = best_of(self._runs, name, mode, lambda run: run.metrics)
        if found is None:
            known = {m for run in self._runs for m in run.metrics}
            raise RunNotFoundError(f"None of {len(self)} runs has a metric {name!r}.{suggest(name, known)}")
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Return the runs as listings show them; of a store that is far away, many are read at the same time."""
        return read_many(self._runs[0].files.content, row_of, self._runs) if self._runs else []

    def to_dataframe(self) -> Any:
        """Return the runs as a pandas DataFrame, one row each; parameters and metrics have columns ``params.x`` and ``metrics.y``.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: PLC0415  (an extra)
        except ImportError as error:
            raise MissingExtraError.needed("A data frame", "pandas", "arrow") from error
        frame = pd.DataFrame([_flat(row) for row in self.rows()])
        for column in ("created", "finished"):
            if column in frame:
                frame[column] = pd.to_datetime(frame[column], utc=True)
        return frame

    def __repr__(self) -> str:
        return "\n".join([f"<{len(self)} runs>", *(repr(run) for run in self._runs[:20])])

    def _repr_html_(self) -> str:
        from flowbridge.client.page import table_of  # noqa: PLC0415  (only in notebooks)

        return table_of(self.rows())


def row_of(run: Run[Any]) -> dict[str, Any]:
    """Return a run as listings show it."""
    record = run.record
    return {
        "id": record.id,
        "flow": record.flow,
        "status": run.status,
        "backend": record.backend,
        "profile": record.profile,
        "created": when(record.created),
        "finished": when(run.finished),
        "duration": round(run.duration, 3),
        "params": run.params,
        "metrics": run.metrics,
        "tags": list(run.tags),
        "user": record.user,
        "commit": record.commit,
    }


def task_row(task: Task) -> dict[str, Any]:
    """Return a task as listings show it."""
    record, reason = task.record, task.reason
    return {
        "step": task.step,
        "index": list(task.index),
        "attempt": task.attempt,
        "status": task.state,
        "started": when(task.started),
        "finished": when(task.finished),
        "duration": round(task.duration, 3) if task.duration is not None else None,
        "metrics": task.metrics,
        "peak_memory": record.usage.peak_memory if record is not None else None,
        "reason": reason.model_dump(mode="json", exclude_defaults=True) if reason is not None else None,
    }


def when(seconds: float | None) -> str | None:
    """Return a time as ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds") if seconds is not None else None


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in row.items() if key not in {"params", "metrics"}}
    return plain | {f"{group}.{name}": value for group in ("params", "metrics") for name, value in row[group].items()}
