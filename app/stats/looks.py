"""One budget of false alarms for a whole life of looks.

A monitor looks at dyadic windows: each bucket by itself, then 2, 4, 8, … of them together, one window after the
other. The budget is spread over scales and over time so that all shares add up to it, however long it goes on; a
union bound then holds whatever the windows have in common.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import log

_TIME_TOTAL = 2.1097428012368918
"""The sum of 1 / (k ln² k) from k = 2 (OEIS A115563)."""


@dataclass(frozen=True)
class Look:
    """A window of `buckets` buckets in a row, `first` being the number of its first, counted from the monitor's start."""

    first: int
    buckets: int

    @property
    def scale(self) -> int:
        """The power of two."""
        return self.buckets.bit_length() - 1

    @property
    def index(self) -> int:
        """How many windows of this scale came before."""
        return self.first // self.buckets


def looks_after(bucket: int) -> Iterator[Look]:
    """The windows that are complete with a bucket, the shortest first.

    >>> [(look.first, look.buckets) for look in looks_after(3)]
    [(3, 1), (2, 2), (0, 4)]

    Raises:
        ValueError: `bucket` is negative.
    """
    if bucket < 0:
        raise ValueError("buckets are counted from 0")
    buckets = 1
    while (bucket + 1) % buckets == 0 and buckets <= bucket + 1:
        yield Look(bucket + 1 - buckets, buckets)
        buckets *= 2


def looks_due(occupied: Collection[int], *, after: int, until: int, longest: int) -> list[Look]:
    """The windows that became complete lately and may show what none before them did, in the order of their ends.

    A bucket belongs where its time puts it: one that nothing came in is part of windows, but makes no look; a window
    whose one half is empty holds what the other one held already.

    Args:
        occupied: the buckets with rows.
        after: windows that ended before this bucket were due earlier.
        until: the first bucket that is not complete.
        longest: buckets of the longest window.

    >>> looks_due([3, 6, 7], after=4, until=8, longest=4)
    [Look(first=6, buckets=1), Look(first=7, buckets=1), Look(first=6, buckets=2)]
    >>> looks_due([3, 6, 7], after=4, until=8, longest=8)[-1]
    Look(first=0, buckets=8)

    Raises:
        ValueError: a bucket before the first, 0, or no window is short enough.
    """
    if longest < 1 or min(occupied, default=0) < 0:
        raise ValueError("windows are of at least one bucket, and buckets are counted from 0")
    due = {Look(bucket, 1) for bucket in occupied}
    halves, buckets = set(occupied), 2
    while buckets <= longest:
        wholes = {half // 2 for half in halves}
        due |= {Look(n * buckets, buckets) for n in wholes if {2 * n, 2 * n + 1} <= halves}
        halves, buckets = wholes, 2 * buckets
    in_time = (look for look in due if after < look.first + look.buckets <= until)
    return sorted(in_time, key=lambda look: (look.first + look.buckets, look.buckets))


def allowance(look: Look, budget: float) -> float:
    """The share of the budget that a window may spend: 1 / ((s + 1)(s + 2)) for its scale s, 1 / (k ln² k) for its turn.

    Alpha spending over an endless sequence of tests (Foster and Stine, J. R. Stat. Soc. B 70, 2008, section 4, name the
    slowly falling sequence).

    >>> round(sum(allowance(Look(first, 1), 0.05) for first in range(100_000)), 3)
    0.024

    Raises:
        ValueError: the budget is not in (0, 1).
    """
    if not 0 < budget < 1:
        raise ValueError("a budget of false alarms lies between 0 and 1")
    turn = look.index + 2
    over_time = 1 / (turn * log(turn) ** 2 * _TIME_TOTAL)
    return budget * over_time / ((look.scale + 1) * (look.scale + 2))
