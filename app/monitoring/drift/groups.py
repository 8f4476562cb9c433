"""The groups of a column, in the reference and in the window: what a plot of its drift shows."""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from app.runtimes.profiles import Watched
from app.stats.axes import BINS, OTHER, ROUNDING, NumericAxis
from app.stats.profile import Profile

MOST_LABELS = 15
"""That are shown one by one, as the score takes them."""
_NAMES = ("label", "low", "high")


def groups_of(columns: Sequence[Watched], was: Profile, now: Profile) -> list[list[dict[str, Any]]]:
    """For each column its groups, each value in one of them, with their shares; those without rows are left out.

    Numbers are in (low, high], between the reference's deciles as far as these differ; None is an open end. Labels are the
    reference's most frequent ones, and all others as one group that has none.
    """
    before, after = (profile.counts[:, :BINS].cumsum(axis=1) for profile in (was, now))
    return [_groups(column, before[i], after[i]) for i, column in enumerate(columns)]


def _groups(column: Watched, before: Any, after: Any) -> list[dict[str, Any]]:
    ends, names = _named(column)
    then, today = _shares(before[ends].tolist()), _shares(after[ends].tolist())
    return [
        {**name, "reference": past, "window": present}
        for name, past, present in zip(names, then, today, strict=True)
        if past or present
    ]


def _named(column: Watched) -> tuple[list[int], list[dict[str, Any]]]:
    """The last bin of each group, and what the group is called."""
    axis = column.axis
    if isinstance(axis, NumericAxis):
        ends = list(dict.fromkeys(axis.deciles.tolist()))
        edges = [None, *map(_shortest, axis.edges[ends].tolist()), None]
        bounds = pairwise(edges)
        return [*ends, BINS - 1], [{"label": None, "low": low, "high": high} for low, high in bounds]
    labels = [*axis.top[:MOST_LABELS], None]
    ends = [*range(len(labels) - 1), OTHER + 1]
    return ends, [{"label": label, "low": None, "high": None} for label in labels]


def _shortest(edge: float) -> float:
    """The number with the fewest digits that an edge, which lies a little above a value, can't be told from.

    >>> _shortest(19.99 * (1 + 2**-20)), _shortest(0.0)
    (19.99, 0.0)
    """
    written = (float(f"{edge:.{digits}g}") for digits in range(1, 18))
    return next(short for short in written if abs(short - edge) <= abs(edge) * 1.01 * ROUNDING)


def _shares(reached: Sequence[int]) -> list[float]:
    """Of the rows up to the end of each group, the share of each; all 0 where there are no rows."""
    total = reached[-1] or 1
    before = [0, *reached[:-1]]
    return [round((end - start) / total, 6) for start, end in zip(before, reached, strict=True)]


def mask_groups(columns: Sequence[Mapping[str, Any]], hidden: Collection[str]) -> list[Mapping[str, Any]]:
    """The same without the values of columns that the caller may not see: shares stay, their groups have no names."""
    return [_mask(column) if _input_of(column) in hidden else column for column in columns]


def _input_of(column: Mapping[str, Any]) -> str:
    """The input that a column is made from: a text has several, each with its source behind its name."""
    name: str = column["feature"].removesuffix(f" ({column['source']})")
    return name


def _mask(column: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**column, "groups": [group | dict.fromkeys(_NAMES) for group in column["groups"]]}
