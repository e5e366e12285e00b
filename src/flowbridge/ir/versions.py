"""The version of the intermediate representation, and how older ones are read."""

from __future__ import annotations

SCHEMA_VERSION = 1
