"""Data with a daily and a weekly cycle, as hourly buckets of profiles."""

from itertools import chain

import numpy as np

from app.stats.axes import category_axis, numeric_axis
from app.stats.drift import compare
from app.stats.profile import Layout, observe
from app.stats.seasons import HOURS, Seasons, by_hour


def cycle(hour: int) -> float:
    """Standard deviations by which an hour of the week lies off, from about -1.3 to 1.3."""
    return float(np.sin(2 * np.pi * hour / 24) + 0.3 * np.cos(2 * np.pi * hour / HOURS))


def rows(generator: np.random.Generator, hour: int, count: int, shift: float = 0.0) -> list:
    """Normal, lognormal, zero-inflated, integer, spread alone, labels, nulls, and a column without a season."""
    at = cycle(hour)
    weights = np.exp(0.5 * at * np.linspace(-1, 1, 12))
    return [
        generator.normal(at + shift, size=count),
        generator.lognormal(0.5 * at, size=count),
        generator.lognormal(size=count) * (generator.random(count) < 0.3 + 0.1 * at),
        generator.poisson(3 + at, count).astype(float),
        generator.normal(scale=1 + 0.3 * at, size=count),
        list(map(str, generator.choice(12, count, p=weights / weights.sum()))),
        np.where(generator.random(count) < 0.05 + 0.03 * at, np.nan, generator.normal(size=count)),
        generator.normal(size=count),
    ]


def axes(generator: np.random.Generator, count: int) -> Layout:
    """Of `count` rows an hour, through one week."""
    weeks = [rows(generator, hour, count) for hour in range(HOURS)]
    columns = [
        list(chain(*parts)) if isinstance(parts[0], list) else np.concatenate(parts)
        for parts in zip(*weeks, strict=True)
    ]
    return Layout(tuple(category_axis(c) if isinstance(c, list) else numeric_axis(c) for c in columns))


def learn(generator: np.random.Generator, weeks: int, count: int) -> Seasons:
    """What `weeks` of hours with `count` rows each looked like."""
    layout = axes(generator, max(10, count // 10))
    hours = [hour for _ in range(weeks) for hour in range(HOURS)]
    return by_hour((hour, observe(layout, rows(generator, hour, count))) for hour in hours)


def p_values(
    generator: np.random.Generator, seasons: Seasons, weeks: int, count: int, shift: float = 0.0
) -> np.ndarray:
    """Of every hourly window of some weeks more, shape (windows, columns)."""
    found = []
    for hour in range(HOURS):
        reference = seasons.reference(np.arange(HOURS) == hour)
        windows = [observe(seasons.layout, rows(generator, hour, count, shift)) for _ in range(weeks)]
        found += [compare(reference, window).p for window in windows]
    return np.array(found)
