"""Take one branch or the other, and go on with whichever ran.

flowbridge run examples/branches.py --reading 17
flowbridge run examples/branches.py --reading 42
"""

from __future__ import annotations

from flowbridge import first, flow, otherwise, step, when


@step
def measure(reading: int) -> int:
    """Pretend to read a sensor."""
    return reading


@step
def celebrate(value: int) -> str:
    """Say that all is well."""
    return f"{value} is fine"


@step
def alarm(value: int) -> str:
    """Say that it is not."""
    return f"{value} is too much"


@step
def publish(text: str) -> str:
    """Show what was found."""
    print(text)
    return text


@flow
def branches(reading: int = 17) -> str:
    """Two branches; the one whose condition does not hold is skipped."""
    value = measure(reading)
    with when(value < 40):
        good = celebrate(value)
    with otherwise():
        bad = alarm(value)
    return publish(first(good, bad))
