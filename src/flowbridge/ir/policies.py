"""What happens around a task: retries, time limits, caching."""

from __future__ import annotations

from pydantic import Field

from flowbridge.ir.base import FrozenModel


class Retry(FrozenModel):
    """Further attempts after a failure.

    Attributes:
        retries: Further attempts; 0 means one attempt in all.
        delay: Seconds before the first retry.
        backoff: Factor by which each further delay grows.
    """

    retries: int = Field(default=0, ge=0)
    delay: float = Field(default=0.0, ge=0)
    backoff: float = Field(default=1.0, ge=1)

    def delay_before(self, attempt: int) -> float:
        """Return the seconds to wait before an attempt (the first retry is attempt 1)."""
        return self.delay * self.backoff ** max(attempt - 1, 0)


class CachePolicy(FrozenModel):
    """Take outputs of an earlier task with the same code and inputs.

    Attributes:
        lifetime: Seconds a cached result may be used; None means for ever.
    """

    lifetime: float | None = None
