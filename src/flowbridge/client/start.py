"""Start a run: what `flow.run(...)` and `flowbridge run` do."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowbridge.artifacts.layout import run_dir
from flowbridge.backends.registry import get_backend
from flowbridge.client.options import RunOptions
from flowbridge.client.prepare import prepare
from flowbridge.client.run import Run
from flowbridge.errors import UsageError
from flowbridge.records.finish import finalise
from flowbridge.records.reasons import cancelled
from flowbridge.worker.session import RunSession

if TYPE_CHECKING:
    from flowbridge.authoring.decorators import Flow
    from flowbridge.authoring.traced import TracedFlow
    from flowbridge.backends.base import PreparedRun

_log = logging.getLogger("flowbridge")


def run(flow: Flow[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], settings: Mapping[str, Any]) -> Run[Any]:
    """Run a flow with arguments; wait for its end unless the options say otherwise.

    Raises:
        UsageError: The flow, its arguments or the configuration are wrong; nothing has run.
        StoreError: The store cannot be written.
    """
    options = RunOptions.of(settings)
    traced = flow.trace()
    params = traced.coerce(args, kwargs)
    started = start(traced, prepare(traced, params, options.load_profile(), options))
    if options.wait:
        started.wait()
        if started.status == "failed":
            _log.error(
                "Run %s of flow %r failed: %s. Look further: flowbridge show %s", started.id, started.flow, started.message, started.id
            )
    return started


def start(traced: TracedFlow, prepared: PreparedRun) -> Run[Any]:
    """Hand a prepared run to its backend. If that fails, no run is left that will never go on: it is taken away, or closed."""
    try:
        submission = get_backend(prepared.profile.backend).submit(prepared)
    except UsageError:
        content = prepared.store.content
        content.delete(content.paths(run_dir(prepared.record.flow, prepared.record.id)))
        raise
    except BaseException as error:
        why = f"the run was not handed to {prepared.profile.backend}: {str(error) or type(error).__name__}"
        finalise(prepared.graph, prepared.files, cancelled=True, left=cancelled(why))
        raise
    session = RunSession(prepared.store, prepared.files, prepared.functions, prepared.graph)
    return Run(session, submission=submission, result_class=traced.result_class, profile=prepared.profile)
