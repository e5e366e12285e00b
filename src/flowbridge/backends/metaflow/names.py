"""Names that Metaflow accepts, as near as can be to what the user wrote."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable

ARTIFACTS = ("flowbridge_run", "map_index", "metrics", "outputs", "reason", "result", "state")
"""Artifacts that every generated flow has."""

DECORATORS = (
    "batch",
    "card",
    "catch",
    "conda",
    "environment",
    "kubernetes",
    "parallel",
    "project",
    "pypi",
    "resources",
    "retry",
    "schedule",
    "secrets",
    "step",
    "timeout",
    "trigger",
)
"""Names that stand for decorators inside the class; a method of that name would hide them from the methods below it."""

_FLOW_SPEC = ("cmd", "foreach_stack", "index", "input", "merge_artifacts", "name", "next", "script_name")
RESERVED = frozenset((*ARTIFACTS, *DECORATORS, *_FLOW_SPEC, "start", "end", "self", "inputs", "Parameter", "JSONType", "FlowSpec"))

_CLI_OPTIONS = (
    "decospecs",
    "max-log-size",
    "max-num-splits",
    "max-workers",
    "namespace",
    "obj",
    "params",
    "run-id",
    "run-id-file",
    "runner-attribute-file",
    "tag",
    "tags",
    "task-id",
    "user-namespace",
    "with",
)
RESERVED_PARAMETERS = frozenset(n for o in _CLI_OPTIONS for n in (o, o.replace("-", "_")))
"""Names that Metaflow's own command line takes; a parameter of that name is refused by Metaflow."""


class Names:
    """Gives out names of one flow: each once, each legal, each the same every time."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(RESERVED) | set(taken)

    def step(self, wanted: str) -> str:
        """Return the name of a Metaflow step for a step, map or helper of that name."""
        return self._free(_plain(wanted).lower())

    def attribute(self, wanted: str) -> str:
        """Return the name of an attribute of the flow (a parameter, or the list a foreach goes over)."""
        return self._free(_plain(wanted))

    def _free(self, plain: str) -> str:
        name = plain
        if name in RESERVED or keyword.iskeyword(name) or keyword.issoftkeyword(name):
            name = f"{plain}_"
        count = 2
        while name in self._taken:
            name = f"{plain}_{count}"
            count += 1
        self._taken.add(name)
        return name


def _plain(wanted: str) -> str:
    """Return ASCII letters, digits and single underscores only, none at the ends."""
    ascii_text = unicodedata.normalize("NFKD", wanted).encode("ascii", "ignore").decode()
    plain = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]+", "_", ascii_text)).strip("_")
    if not plain:
        return "step"
    return f"step_{plain}" if plain[0].isdigit() else plain


def class_name(flow: str) -> str:
    """Return the name of the FlowSpec: the flow's own where it is an identifier, else made one."""
    plain = flow if flow.isascii() and flow.isidentifier() and not flow.startswith("_") else _plain(flow)
    return f"{plain}_" if keyword.iskeyword(plain) or plain in {"FlowSpec", "Parameter", "JSONType", *DECORATORS} else plain


def parameter_name(wanted: str) -> str:
    """Return the name of a parameter on Metaflow's command line."""
    return f"{wanted}_" if wanted.lower() in RESERVED_PARAMETERS else wanted
