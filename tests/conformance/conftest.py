"""Gives each suite the seeds of its flows made by chance."""

from flowbridge.testing.backends import pytest_generate_tests

__all__ = ["pytest_generate_tests"]
