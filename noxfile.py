"""Sessions: ``nox`` runs the fast ones, ``nox -s tests-3.12`` and so on the others. The tests hold lint and types as well (tests/architecture)."""

import nox

nox.options.sessions = ["lint", "types", "layers", "unit"]
nox.options.default_venv_backend = "uv|virtualenv"

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]


@nox.session
def lint(session: nox.Session) -> None:
    """Look at style."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    session.install("-e", ".[test]")
    session.run("mypy")


@nox.session
def layers(session: nox.Session) -> None:
    """Hold the one-way order of imports."""
    session.install("-e", ".[kubeflow,metaflow]", "import-linter>=2.1")
    session.run("lint-imports")


@nox.session
def unit(session: nox.Session) -> None:
    """Run the unit tests."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "2", "tests/unit", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run every test."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "2", "--dist", "loadfile", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Write the generated parts of the docs anew."""
    session.install("-e", ".[kubeflow,metaflow]")
    session.run("python", "docs/generate_support.py")


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel and the source archive."""
    session.install("build")
    session.run("python", "-m", "build")
