"""One task per item: over a list made while the flow runs, zipped, nested, and in batches.

flowbridge run examples/maps.py --cities '["Oslo", "Rome"]'
"""

from __future__ import annotations

from flowbridge import each, flow, step


@step
def days(city: str) -> list[int]:
    """Pretend to look up how many days of data there are; a longer name has more."""
    return list(range(1, len(city)))


@step
def temperature(city: str, day: int) -> float:
    """Pretend to read one day's temperature."""
    return round(len(city) * 2.5 + day * 0.5, 1)


@step
def mean(values: list[float]) -> float:
    """Return the mean of a city's days."""
    return sum(values) / len(values)


@step
def table(cities: list[str], means: list[float]) -> dict[str, float]:
    """Put each city beside its mean."""
    found = dict(zip(cities, means, strict=True))
    print(found)
    return found


@flow
def one_city(city: str) -> float:
    """A flow that is mapped, with a map of its own inside: four days share a process."""
    return mean(temperature.map(city, each(days(city)), batch=4))


@flow
def maps(cities: list[str] = ["Oslo", "Rome", "Lisbon"]) -> dict[str, float]:
    """All cities at once, all days of each."""
    return table(cities, one_city.map(each(cities)))
