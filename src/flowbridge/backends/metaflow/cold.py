"""Doing what a step asks for in the task's own process: where flowbridge did not start the run, or on another machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from flowbridge.backends.metaflow.perform import Answer, Request, perform
from flowbridge.backends.metaflow.variables import FOLDER
from flowbridge.settings import load_profile
from flowbridge.worker.session import Session

if TYPE_CHECKING:
    from pathlib import Path


def perform_here(data: dict[str, Any], folder: Path | None = None) -> Answer:
    """Do what a step asks for in this process.

    Args:
        data: The request.
        folder: Where to look for settings; None: in the working folder.
    """
    request = Request.of(data)
    if FOLDER in os.environ:
        os.chdir(os.environ[FOLDER])
    profile = load_profile(overrides={"store": request.store}, directory=folder)
    return perform(request, request.around(Session(), profile))
