"""The cases of the conformance suite, one file per feature."""

from __future__ import annotations

import importlib
import pkgutil

from flowbridge.testing.case import Case


def all_cases() -> tuple[Case, ...]:
    """Return every case, in the order of the files and of their names.

    Raises:
        ValueError: Two cases go by one name.
    """
    found: dict[str, Case] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        for case in importlib.import_module(f"{__name__}.{module.name}").CASES:
            if case.name in found:
                raise ValueError(f"two conformance cases are called {case.name!r}")
            found[case.name] = case
    return tuple(found.values())
