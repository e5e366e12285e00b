"""The page about Kubeflow says what the support table says, and names every setting."""

from __future__ import annotations

import os
import re
from pathlib import Path

from flowbridge.backends.kubeflow.options import KubeflowOptions
from flowbridge.backends.kubeflow.support import TABLE
from flowbridge.backends.support import as_markdown

PAGE = Path(__file__).parents[4] / "docs" / "backends" / "kubeflow.md"
BEGIN, END = "<!-- support table: generated, do not edit -->\n", "<!-- end of support table -->\n"


def test_page_has_the_support_table() -> None:
    """UPDATE_GOLDEN=1 writes it."""
    text = PAGE.read_text()
    head, rest = text.split(BEGIN)
    shown, tail = rest.split(END)
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(head + BEGIN + as_markdown(TABLE) + END + tail)
        shown = as_markdown(TABLE)
    assert shown == as_markdown(TABLE)


def test_page_names_every_setting() -> None:
    words = set(re.findall(r"`([a-z_]+)`", PAGE.read_text()))
    assert set(KubeflowOptions.model_fields) <= words
