"""The configuration: call options over command line over environment over project file over user file over defaults.

Read once, frozen, and passed down. What stands in the sub-table of a backend is checked by that backend, which alone knows it.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flowbridge.errors import ConfigError, suggest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "FLOWBRIDGE_"
Model = TypeVar("Model", bound=BaseModel)
FILE = "flowbridge.toml"
DEFAULT_STORE = ".flowbridge"
_GIB = 2**30
_TABLES = ("default_profile", "profiles")
_OTHERS = (
    "profile",
    "account_dir",
    "in_container",
    "metaflow_cards",
    "metaflow_helper",
    "metaflow_run",
    "metaflow_store",
)
"""Variables of the prefix that are no settings of a profile: most are handed from one process of flowbridge to another."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MachineSettings(_Table):
    """``[profiles.X.machine]``: what this machine has to give; what is left out is found out.

    Attributes:
        cpu: Cores.
        memory: Bytes, or a quantity such as ``"12Gi"``.
        gpus: Names of the GPUs, as ``CUDA_VISIBLE_DEVICES`` takes them.
        gpu_memory: Of each GPU; bytes or a quantity.
        custom: Amounts of further resources, by the name that steps ask for.
        affinity: Keep each step that declares `cpu` to cores of its own.
    """

    cpu: float | str | None = None
    memory: int | str | None = None
    gpus: list[str] | None = None
    gpu_memory: int | str | None = None
    custom: dict[str, float] = {}
    affinity: bool = False


class Profile(_Table):
    """Everything that is configured for a run.

    Attributes:
        name: Of the profile; None where no profile is named.
        backend: Where runs go by default.
        store: Where values and records are: any fsspec URL, or a path. A relative path in a file is relative to that file.
        store_options: How the store is opened; what its fsspec file system takes.
        trust: Whether pickles of the store are loaded. A store that others can write to is not to be trusted.
        cache_dir: Folder in which values of a remote store are kept; None: the user's cache folder.
        cache_size: Bytes that this folder may grow to.
        kubeflow: Settings of the Kubeflow backend.
        metaflow: Settings of the Metaflow backend.
        backends: Settings of further backends, by their names.
        placement: Profile by the name of a step or of a `target`, for steps that run elsewhere.
        machine: What this machine has to give.
    """

    name: str | None = None
    backend: str = "local"
    store: str = DEFAULT_STORE
    store_options: dict[str, Any] = {}
    trust: bool = True
    cache_dir: str | None = None
    cache_size: int = Field(default=10 * _GIB, ge=0)
    kubeflow: dict[str, Any] = {}
    metaflow: dict[str, Any] = {}
    backends: dict[str, dict[str, Any]] = {}
    placement: dict[str, str] = {}
    machine: MachineSettings = MachineSettings()


def load_profile(name: str | None = None, *, overrides: Mapping[str, Any] | None = None, directory: Path | None = None) -> Profile:
    """Return the configuration in force.

    Args:
        name: Of a profile; None: ``FLOWBRIDGE_PROFILE``, else the ``default_profile`` of the files, else no profile.
        overrides: Settings that go over everything else; those that are None count as not given.
        directory: Where to look for the project's file, and upwards from there; None: the working directory.

    Raises:
        ConfigError: A setting is unknown or malformed, or no profile goes by the name.
    """
    files = [_User.read(), _Project.find(directory or Path.cwd())]
    chosen = name or os.environ.get(f"{PREFIX}PROFILE") or _last(f.default_profile for f in files)
    layers = [f.profile(chosen) for f in files]
    if chosen is not None and not any(chosen in f.profiles for f in files):
        raise _unknown_profile(chosen, files)
    layers += [_environment(os.environ), {k: v for k, v in (overrides or {}).items() if v is not None}]
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merge(merged, layer)
    return _validated(merged | {"name": chosen}, "the configuration")


def profile_names(directory: Path | None = None) -> list[str]:
    """Return the names of all profiles that the files define, sorted."""
    return sorted({n for f in (_User.read(), _Project.find(directory or Path.cwd())) for n in f.profiles})


def backend_settings(profile: Profile, backend: str, model: type[Model]) -> Model:
    """Return the table of a backend in a profile as the backend's own model of it.

    Args:
        profile: The configuration in force.
        backend: Name of the table: ``kubeflow`` or ``metaflow``.
        model: What the table may hold.

    Raises:
        ConfigError: A setting is unknown, or has the wrong type or form; names each. Values are not shown: some are secret.
    """
    table = getattr(profile, backend)
    where = f"[profiles.{profile.name}.{backend}]" if profile.name else f"the {backend} settings"
    unknown = [key for key in table if key not in model.model_fields]
    if unknown:
        raise ConfigError.unknown_key(unknown[0], model.model_fields, where)
    try:
        return model.model_validate(table)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"Wrong settings in {where}: {problems}") from error


class _File:
    """One configuration file, looked at."""

    def __init__(self, path: Path | None, table: Mapping[str, Any]) -> None:
        self.path = path
        self.where = str(path) if path else "no file"
        for key in table:
            if key not in _TABLES:
                raise ConfigError.unknown_key(key, _TABLES, f"{self.where}; settings stand in [profiles.NAME]")
        self.default_profile = table.get("default_profile")
        self.profiles: Mapping[str, Mapping[str, Any]] = table.get("profiles", {})
        self._look()

    def _look(self) -> None:
        if self.default_profile is not None and not isinstance(self.default_profile, str):
            raise ConfigError(f"{self.where}: default_profile must be the name of a profile, not {self.default_profile!r}")
        if not isinstance(self.profiles, Mapping):
            raise ConfigError(f"{self.where}: profiles must be tables, written as [profiles.NAME]")
        for name, table in self.profiles.items():
            if not isinstance(table, Mapping):
                raise ConfigError(f"{self.where}: profiles.{name} must be a table, written as [profiles.{name}]")
            if "name" in table:
                raise ConfigError(f"{self.where}: [profiles.{name}] gives a name; its name is {name!r} already. Take the line out.")
            _validated(table, f"[profiles.{name}] of {self.where}")

    def profile(self, name: str | None) -> dict[str, Any]:
        """Return what the file says of a profile; a store at a relative path is made absolute."""
        table = dict(self.profiles.get(name, {})) if name is not None else {}
        for key in ("store", "cache_dir"):
            if self.path is not None and isinstance(table.get(key), str):
                table[key] = from_folder(table[key], self.path.parent)
        return table


class _User(_File):
    @classmethod
    def read(cls) -> _User:
        """Read the file of the user, if there is one."""
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        path = base / "flowbridge" / "config.toml"
        return cls(path, _toml(path)) if path.is_file() else cls(None, {})


class _Project(_File):
    @classmethod
    def find(cls, directory: Path) -> _Project:
        """Read the nearest project file, from a folder upwards."""
        for folder in (directory.absolute(), *directory.absolute().parents):
            own, shared = folder / FILE, folder / "pyproject.toml"
            if own.is_file():
                return cls(own, _toml(own))
            if shared.is_file():
                table = _toml(shared).get("tool", {}).get("flowbridge")
                if table is not None:
                    return cls(shared, table)
        return cls(None, {})


def _toml(path: Path) -> dict[str, Any]:
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    return table


def from_folder(place: str, folder: Path) -> str:
    """Return a URL as it is, and a path as it is seen from a folder.

    Raises:
        ConfigError: It begins like a URL and is none.
    """
    slip = re.match(r"([a-z][a-z0-9+]+):/(?!/)", place)
    if slip:
        raise ConfigError(f"{place!r} is no URL: write {slip[1]}:// with two slashes, or ./{place} for a folder of that name")
    return place if "://" in place or "::" in place else str(folder / Path(place).expanduser())


def _environment(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings among the environment variables: ``FLOWBRIDGE_STORE``, ``FLOWBRIDGE_KUBEFLOW__HOST`` and so on."""
    found: dict[str, Any] = {}
    for variable, text in sorted(variables.items()):
        path = variable.removeprefix(PREFIX).lower().split("__")
        if not variable.startswith(PREFIX) or path[0] in _OTHERS or _is_foreign(variable, path[0]):
            continue
        here = found
        for part in path[:-1]:
            here = here.setdefault(part, {})
        here[path[-1]] = _from_text(text)
    return found


def _is_foreign(variable: str, name: str) -> bool:
    """Tell the variables that only share the prefix, such as those Kubernetes sets for a service that is called flowbridge.

    Raises:
        ConfigError: It looks like a setting, misspelt.
    """
    known = sorted({*Profile.model_fields, "profile"} - {"name"})
    if name in known:
        return False
    inner = next((f"{PREFIX}{t.upper()}__{name.removeprefix(t + '_').upper()}" for t in known if name.startswith(f"{t}_")), None)
    slip = difflib.get_close_matches(name, known, cutoff=0.9)  # a letter of a name, rather than an underscore before a setting inside it
    near = [inner] if inner and not slip else [f"{PREFIX}{n.upper()}" for n in slip or difflib.get_close_matches(name, known)]
    if near:
        raise ConfigError(f"Unknown setting {variable} in the environment. Did you mean {' or '.join(near)}?")
    return True


def _from_text(text: str) -> Any:
    """Return a list or table where a variable holds one as JSON, else the text: what it is to be is told by the setting."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table over another; tables inside are merged in their turn."""
    merged = dict(below)
    for key, value in above.items():
        inside = merged.get(key)
        merged[key] = _merge(inside, value) if isinstance(inside, Mapping) and isinstance(value, Mapping) else value
    return merged


def _validated(table: Mapping[str, Any], where: str) -> Profile:
    _refuse_unknown(table, Profile, where)
    try:
        return Profile.model_validate(table)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}, got {e['input']!r}" for e in error.errors())
        raise ConfigError(f"Wrong settings in {where}: {wrong}") from None


def _refuse_unknown(table: Mapping[str, Any], model: type[BaseModel], where: str) -> None:
    for key, value in table.items():
        field = model.model_fields.get(key)
        if field is None:
            raise ConfigError.unknown_key(key, set(model.model_fields) - {"name"}, where)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel) and isinstance(value, Mapping):
            _refuse_unknown(value, field.annotation, f"{key} of {where}")


def _last(values: Iterator[str | None]) -> str | None:
    return next((v for v in reversed(list(values)) if v), None)


def _unknown_profile(name: str, files: list[Any]) -> ConfigError:
    known = sorted({n for f in files for n in f.profiles})
    there = f"Known: {', '.join(known)}.{suggest(name, known)}" if known else f"No file defines any: write [profiles.{name}] in {FILE}."
    return ConfigError(f"Unknown profile {name!r}. {there}")
