"""Names that a Kubeflow server accepts, made from the user's own, unique and the same on every compile."""

from __future__ import annotations

import re

LONGEST = 48
"""Argo makes template names such as ``comp-<name>-<name>-iterator`` of at most 128 characters out of these."""
NAME_FORM = "lower-case letters, digits, '-' and '.'"
_LONGEST_OBJECT = 253
LONGEST_LABEL = 63
_A_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL = re.compile(_A_LABEL)
_OBJECT = re.compile(rf"{_A_LABEL}(\.{_A_LABEL})*")
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_WEAK = re.compile(r"[^a-z0-9]+")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]|\{\{|\}\}")


def slug(text: str, longest: int = LONGEST) -> str:
    """Return a text in the letters that task and pipeline names may have: ``[a-z][a-z0-9-]*``."""
    plain = _WEAK.sub("-", text.lower()).strip("-")
    if not plain or not plain[0].isalpha():
        plain = f"s-{plain}".rstrip("-")
    return plain[:longest].rstrip("-")


def display(text: str) -> str:
    """Return a name for people, without what YAML or Argo's templating would touch."""
    return _UNPRINTABLE.sub("_", text)


class Names:
    """The names of one pipeline: each given once, and none that collides with the driver task Argo puts beside another."""

    def __init__(self, *reserved: str) -> None:
        self._taken = set(reserved)

    def give(self, text: str) -> str:
        """Return the slug of a text, with ``-2`` ... where it is taken."""
        base = slug(text)
        name, count = base, 1
        while not self._free(name):
            count += 1
            suffix = f"-{count}"
            name = base[: LONGEST - len(suffix)].rstrip("-") + suffix
        self._taken.add(name)
        return name

    def component(self, text: str) -> str:
        """Return the name of a component, in the form that kfp gives them."""
        return f"comp-{self.give(text)}"

    def _free(self, name: str) -> bool:
        """Say whether neither the name nor what the server derives from it (``-driver``, ``-iteration``) is taken."""
        if name in self._taken:
            return False
        if any(f"{name}{suffix}" in self._taken for suffix in DERIVED):
            return False
        return not any(name.endswith(suffix) and name.removesuffix(suffix) in self._taken for suffix in DERIVED)


DERIVED = ("-driver", "-iteration", "-iterations", "-iterator", "-items")


def is_object_name(text: str) -> bool:
    """Say whether an object of the cluster, such as a secret, can have that name (a DNS-1123 subdomain)."""
    return len(text) <= _LONGEST_OBJECT and _OBJECT.fullmatch(text) is not None


def is_label(text: str) -> bool:
    """Say whether a part of an object, such as a pod's volume, can have that name (a DNS-1123 label)."""
    return len(text) <= LONGEST_LABEL and _LABEL.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Say whether a value in a secret of the cluster can have that name."""
    return len(text) <= _LONGEST_OBJECT and _KEY.fullmatch(text) is not None
