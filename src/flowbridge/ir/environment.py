"""What a step wants to find around it: packages, interpreter, image, variables, secrets. Wishes, not locks."""

from __future__ import annotations

from flowbridge.ir.base import FrozenModel


class Secret(FrozenModel):
    """A secret that becomes an environment variable; only its name is ever written anywhere.

    Attributes:
        env: Name of the variable the step sees.
        name: Name of the secret where it is kept (a Kubernetes secret; locally a variable of the driver's environment).
        key: Key inside the secret; None means the secret is a single value.
    """

    env: str
    name: str
    key: str | None = None


class EnvironmentWish(FrozenModel):
    """Everything declared about a step's environment; empty means: as the flow itself is run.

    Attributes:
        packages: Requirement specifiers, such as ``scikit-learn==1.7.*``.
        requirements: Lines of a requirements file, read when the flow was built.
        python: Version of Python, such as ``3.11``.
        image: Container image, where the backend runs containers.
        env: Environment variables.
        secrets: Secrets that become environment variables.
    """

    packages: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    python: str | None = None
    image: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[Secret, ...] = ()
