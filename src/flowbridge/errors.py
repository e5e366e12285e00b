"""Every error flowbridge raises on purpose, in one tree.

    FlowbridgeError
    ├── UsageError                 the call, the flow or the configuration was wrong (exit code 2)
    │   ├── ConfigError            a setting is unknown, malformed or contradictory
    │   ├── FlowError              a flow cannot be built; lists every problem
    │   ├── ParameterError         a flow parameter is unknown, missing or of the wrong type
    │   ├── UnsupportedError       a backend cannot do what a flow asks; lists every gap
    │   ├── MissingExtraError      an optional dependency is not installed
    │   ├── BackendNotFoundError   no backend goes by that name
    │   └── RunNotFoundError       no run, step or task goes by that name
    ├── StoreError                 the artifact store failed
    │   ├── ArtifactNotFoundError  bytes that a reference names are not in the store
    │   ├── ArtifactDamagedError   bytes in the store are not the bytes that were written
    │   ├── StoreUnavailableError  the store did not answer, after retries
    │   ├── StoreFullError         the store has no room left
    │   ├── UntrustedError         loading would run code from a store that is not trusted
    │   └── SerializationError     a value cannot be written, or read back
    ├── BackendError               the system behind a backend refused or failed
    └── RunFailedError             a run ended failed or cancelled, and its result was asked for (exit code 1)

Users of the library see the message of these errors without a traceback on the command line, so each message
names the thing, says what was expected, and what to do.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known names, or an empty string."""
    near = difflib.get_close_matches(name, sorted(known), n=3)
    if not near:
        return ""
    return " Did you mean " + " or ".join(repr(n) for n in near) + "?"


class FlowbridgeError(Exception):
    """Base of all errors that flowbridge raises on purpose."""


class UsageError(FlowbridgeError):
    """The call, the flow or the configuration was wrong; nothing has run."""


class ConfigError(UsageError, ValueError):
    """A setting is unknown, malformed or contradicts another."""

    @classmethod
    def unknown_key(cls, key: str, known: Iterable[str], where: str) -> ConfigError:
        """Make the error for a key that no setting goes by."""
        return cls(f"Unknown setting {key!r} in {where}.{suggest(key, known)}")


class FlowError(UsageError, TypeError):
    """A flow cannot be built. ``problems`` holds every problem found, one sentence each."""

    def __init__(self, problems: str | Sequence[str], flow: str | None = None) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        self.flow = flow
        head = f"Flow {flow!r} cannot be built" if flow else "The flow cannot be built"
        if len(self.problems) == 1:
            message = f"{head}: {self.problems[0]}"
        else:
            message = f"{head}, {len(self.problems)} problems:\n" + "\n".join(f"  - {p}" for p in self.problems)
        super().__init__(message)


class ParameterError(UsageError, TypeError):
    """A flow parameter is unknown, missing, or its value does not fit its annotation."""


class UnsupportedError(UsageError, NotImplementedError):
    """A backend cannot do what a flow asks. Raised before anything runs; lists every gap."""

    def __init__(self, backend: str, gaps: Sequence[str]) -> None:
        self.backend = backend
        self.gaps = tuple(gaps)
        count = "1 thing stands" if len(gaps) == 1 else f"{len(gaps)} things stand"
        super().__init__(
            f"Backend {backend!r} cannot run this flow; {count} in the way, and nothing has been run:\n"
            + "\n".join(f"  - {g}" for g in gaps)
        )


class MissingExtraError(UsageError, ImportError):
    """An optional dependency is not installed."""

    @classmethod
    def needed(cls, what: str, package: str, extra: str) -> MissingExtraError:
        """Make the error for something that needs a package from an extra."""
        return cls(f"{what} needs the package {package!r}, which is not installed: pip install 'flowbridge[{extra}]'")


class BackendNotFoundError(UsageError, LookupError):
    """No backend goes by that name."""

    @classmethod
    def unknown(cls, name: str, known: Sequence[str]) -> BackendNotFoundError:
        """Make the error for a name that is not among the known backends."""
        return cls(f"Unknown backend {name!r}. Known: {', '.join(sorted(known))}.{suggest(name, known)}")


class RunNotFoundError(UsageError, LookupError):
    """No run, step or task goes by that name in the store."""


class StoreError(FlowbridgeError, OSError):
    """The artifact store failed."""


class ArtifactNotFoundError(StoreError, FileNotFoundError):
    """Bytes that a reference names are not in the store."""


class ArtifactDamagedError(StoreError):
    """Bytes in the store are not the bytes that were written."""


class StoreUnavailableError(StoreError):
    """The store did not answer, or answered with an error, after retries."""


class StoreFullError(StoreError):
    """The store has no room left."""


class UntrustedError(StoreError):
    """Loading would run code from a store that the profile does not trust."""


class SerializationError(StoreError, TypeError):
    """A value cannot be written to the store, or not be read back."""


class BackendError(FlowbridgeError):
    """The system behind a backend (Metaflow, a Kubeflow server, ...) refused or failed."""


class RunFailedError(FlowbridgeError):
    """A run ended failed or cancelled, and its result was asked for."""
