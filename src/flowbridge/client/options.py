"""How a run is to be made: what `flow.options(...)`, the command line and the configuration say together."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flowbridge.errors import ConfigError
from flowbridge.settings import Profile, from_folder, load_profile

if TYPE_CHECKING:
    from flowbridge.artifacts.store import Store
    from flowbridge.backends.base import Listener

_TABLES = ("kubeflow", "metaflow")


def _ignore(event: object) -> None:
    """Listen to nothing."""


@dataclass(frozen=True)
class RunOptions:
    """The options of one run; None means: as configured.

    Attributes:
        backend: Where it runs.
        profile: Name of the profile.
        store: Where values and records are kept.
        tags: Words to find it by, besides those of the flow.
        wait: Whether to wait for its end.
        on_failure: Whether tasks that do not depend on a failed one still run.
        max_parallel: At most so many tasks at once.
        listener: Told of every start and end of an attempt, from any thread.
    """

    backend: str | None = None
    profile: str | None = None
    store: str | None = None
    tags: tuple[str, ...] = ()
    wait: bool = True
    on_failure: Literal["finish", "stop"] = "finish"
    max_parallel: int | None = None
    listener: Listener = field(default=_ignore)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> RunOptions:
        """Make the options from what a user gave.

        Raises:
            ConfigError: There is no such option.
        """
        known = [f.name for f in fields(cls)]
        for key in settings:
            if key not in known:
                raise ConfigError.unknown_key(key, known, "the options of a run")
        return cls(**{**settings, "tags": tuple(settings.get("tags", ()))})

    def load_profile(self) -> Profile:
        """Return the configuration in force for the run.

        Raises:
            ConfigError: A setting is unknown or malformed, or no profile goes by the name.
        """
        return profile_of(self.profile, backend=self.backend, store=self.store)


def profile_of(name: str | None = None, *, backend: str | None = None, store: str | None = None) -> Profile:
    """Return a profile, with the sub-tables of the backends looked at as well.

    Raises:
        ConfigError: A setting is unknown or malformed, or no profile goes by the name.
    """
    profile = load_profile(name, overrides={"backend": backend, "store": store})
    for table in _TABLES:
        if getattr(profile, table):
            importlib.import_module(f"flowbridge.backends.{table}.options").options_of(profile)
    return profile


def open_store(profile: Profile) -> Store:
    """Open the store of a profile; nothing is written by that."""
    from flowbridge.artifacts.store import Store  # noqa: PLC0415  (fsspec is loaded when a store is needed)

    cache = Path(profile.cache_dir).expanduser() if profile.cache_dir else None
    return Store.open(
        absolute(profile.store), options=profile.store_options, trust=profile.trust, cache_dir=cache, cache_size=profile.cache_size
    )


def absolute(store: str) -> str:
    """Return the URL of a store, so that it means the same in every folder."""
    return from_folder(store, Path.cwd())
