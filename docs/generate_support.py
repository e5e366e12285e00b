"""Write `docs/backends/support.md` from the tables that the code itself reads: ``python docs/generate_support.py``."""

from __future__ import annotations

from pathlib import Path

from flowbridge.backends.registry import BUILT_IN, get_backend
from flowbridge.backends.support import markdown

HERE = Path(__file__).parent
HEAD = """# What each backend can do

Made by `docs/generate_support.py` from `backends/*/support.py`, the tables that also decide what is refused before a run. *native*: the system
behind the backend does it itself. *emulated*: flowbridge does it, as the note says. *no*: refused before anything runs, for the reason
in the note.

"""
ORDER = ("inline", "local", "metaflow", "kubeflow")


def pages() -> dict[Path, str]:
    """Return the text of every generated page."""
    assert set(ORDER) == set(BUILT_IN)
    return {HERE / "backends" / "support.md": HEAD + markdown({name: get_backend(name).support for name in ORDER}) + "\n"}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
