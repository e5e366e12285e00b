from __future__ import annotations

import importlib.metadata

from flowbridge.environments import imports_in, pinned

SOURCE = """
from __future__ import annotations
import os, numpy.linalg as la
from pandas import DataFrame
from . import sibling
from flowbridge import step
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
else:
    import yaml
try:
    import polars
except ImportError:
    polars = None
class A:
    import attr
def later():
    import sklearn
"""


def test_only_what_importing_a_module_imports() -> None:
    assert imports_in(SOURCE) == {"numpy", "pandas", "yaml", "polars", "attr"}


def test_a_file_that_is_no_python_imports_nothing() -> None:
    assert imports_in(b"def (") == set()


def test_installed_packages_are_pinned_by_the_name_they_are_distributed_under() -> None:
    version = importlib.metadata.version
    assert pinned(["yaml", "fsspec", "no_such_module", "flowbridge"]) == (f"PyYAML=={version('pyyaml')}", f"fsspec=={version('fsspec')}")


def test_what_values_are_written_with_comes_along() -> None:
    version = importlib.metadata.version
    assert pinned(["pandas"]) == (f"pandas=={version('pandas')}", f"pyarrow=={version('pyarrow')}")
