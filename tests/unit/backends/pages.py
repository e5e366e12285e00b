"""What the pages of all backends must hold to: their support tables, and a word on every setting."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from flowbridge.backends.support import Support, as_markdown
from flowbridge.ir.features import Feature

DOCS = Path(__file__).parents[3] / "docs"
BEGIN, END = "<!-- support table: generated, do not edit -->\n", "<!-- end of support table -->\n"


def has_the_support_table(page: Path, table: Mapping[Feature, Support]) -> None:
    """UPDATE_GOLDEN=1 writes it."""
    text = page.read_text()
    head, rest = text.split(BEGIN)
    shown, tail = rest.split(END)
    if os.environ.get("UPDATE_GOLDEN"):
        page.write_text(head + BEGIN + as_markdown(table) + END + tail)
        shown = as_markdown(table)
    assert shown == as_markdown(table)


def names_every_setting(page: Path, options: type[BaseModel]) -> None:
    words = set(re.findall(r"`([a-z_]+)`", page.read_text()))
    assert set(options.model_fields) <= words
