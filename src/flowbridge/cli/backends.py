"""``flowbridge backends``: where flows can run, and what each place can do."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flowbridge.backends.registry import backend_names, get_backend
from flowbridge.backends.support import Emulated, Native, Support, Unsupported
from flowbridge.cli import options
from flowbridge.cli.printing import print_json, print_table
from flowbridge.errors import MissingExtraError

HELP = "List the backends, or all that one of them can do."


def backends(
    name: Annotated[str | None, typer.Argument(metavar="[BACKEND]", help="Show the whole table of this one.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="The table of all backends, as Markdown.")] = False,
    as_json: options.Json = False,
) -> None:
    """List backends."""
    if markdown:
        from flowbridge.backends.support import markdown as table

        print(table({n: get_backend(n).support for n in ([name] if name else backend_names())}))
    elif name is not None:
        _show_one(name, as_json=as_json)
    else:
        _show_all(as_json=as_json)


def _show_all(*, as_json: bool) -> None:
    rows = [_row(name) for name in backend_names()]
    if as_json:
        print_json(rows)
        return
    head = ("backend", "installed", "native", "emulated", "unsupported")
    print_table(head, [[row["name"], "yes" if row["installed"] else row["needs"], *(row[kind] for kind in head[2:])] for row in rows])
    print("\nEverything one can do: flowbridge backends BACKEND")


def _row(name: str) -> dict[str, Any]:
    try:
        table = get_backend(name).support
    except MissingExtraError as error:
        return {"name": name, "installed": False, "needs": str(error), "native": None, "emulated": None, "unsupported": None}
    kinds = [_kind(support) for support in table.values()]
    return {"name": name, "installed": True, "needs": None, **{kind: kinds.count(kind) for kind in ("native", "emulated", "unsupported")}}


def _show_one(name: str, *, as_json: bool) -> None:
    table = get_backend(name).support
    rows = [{"feature": f.value, "support": _kind(s), "how": _words(s)} for f, s in table.items()]
    if as_json:
        print_json(rows)
    else:
        print_table(("feature", "support", "how"), [[row["feature"], row["support"], row["how"]] for row in rows])


def _kind(support: Support) -> str:
    return type(support).__name__.lower()


def _words(support: Support) -> str:
    if isinstance(support, Emulated):
        return support.how
    if isinstance(support, Unsupported):
        return f"{support.reason}. {support.instead}".rstrip()
    assert isinstance(support, Native)
    return ""
