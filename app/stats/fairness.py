"""Does a classifier treat the groups of a sensitive column alike? From counts that merge by addition."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from app.stats.intervals import Estimate, TooLittleData, difference, proportion, ratio, require

MOST_GROUPS = 50


class Rate(StrEnum):
    """Shares of a group's rows; the second and third take labels."""

    SELECTION = "selection_rate"  # answered with the favourable class (demographic parity)
    TPR = "true_positive_rate"  # of those who are of it (equal opportunity: Hardt, Price and Srebro, NeurIPS 2016)
    FPR = "false_positive_rate"  # of those who are not


@dataclass(frozen=True)
class GroupCounts:
    """The rows of one group.

    Attributes:
        rows, selected: all of them, and those answered with the favourable class.
        positives, true_positives: labelled rows of that class, and the selected among them.
        negatives, false_positives: labelled rows of any other, and the selected among them.
    """

    rows: int = 0
    selected: int = 0
    positives: int = 0
    true_positives: int = 0
    negatives: int = 0
    false_positives: int = 0

    def __add__(self, other: "GroupCounts") -> "GroupCounts":
        return GroupCounts(
            *(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__)
        )

    def of(self, rate: Rate) -> tuple[int, int]:
        """How many were selected of how many that count."""
        if rate is Rate.SELECTION:
            return self.selected, self.rows
        if rate is Rate.TPR:
            return self.true_positives, self.positives
        return self.false_positives, self.negatives


@dataclass(frozen=True)
class Gap:
    """Two groups side by side.

    Attributes:
        lower, higher: their names, by their rates.
        difference: the higher rate less the lower one.
        ratio: the lower rate over the higher one, in [0, 1] but for its interval; the four-fifths rule of the US Uniform
            Guidelines (29 CFR 1607.4 D, 1978) asks for 0.8. None where the higher rate may be 0.
    """

    lower: str
    higher: str
    difference: Estimate
    ratio: Estimate | None


@dataclass(frozen=True)
class Fairness:
    """How one rate differs between groups.

    Attributes:
        rates: of each group that has enough rows.
        short: the groups that have too little data, and how little.
        gaps: of all pairs, the largest difference first; their intervals hold all together.
    """

    rates: Mapping[str, Estimate]
    short: Mapping[str, TooLittleData]
    gaps: tuple[Gap, ...]


def count_groups(
    groups: ArrayLike,
    selected: ArrayLike,
    actual: ArrayLike | None = None,
    has_label: ArrayLike | None = None,
) -> dict[str, GroupCounts]:
    """Count rows by group.

    Args:
        groups: the value of the sensitive column, shape (rows,); as text, so that a missing one is a group as well.
        selected: booleans, shape (rows,): answered with the favourable class.
        actual: booleans, shape (rows,): of that class; None while there are no labels.
        has_label: booleans, shape (rows,): where `actual` is known; everywhere by default.

    >>> count_groups(["a", "a", "b"], [True, False, True], [True, True, False])["a"]
    GroupCounts(rows=2, selected=1, positives=2, true_positives=1, negatives=0, false_positives=0)

    Raises:
        ValueError: the lengths differ.
    """
    names, place = np.unique(np.asarray(groups).astype(np.str_), return_inverse=True)
    chosen = np.asarray(selected, np.bool_)
    known = (
        np.full(chosen.shape, actual is not None) if has_label is None else np.asarray(has_label, np.bool_)
    )
    positive = np.zeros_like(chosen) if actual is None else np.asarray(actual, np.bool_)
    if not place.shape == chosen.shape == positive.shape == known.shape:
        raise ValueError("groups, answers and labels are vectors of one length")
    of_class, of_others = known & positive, known & ~positive
    masks = [np.ones_like(chosen), chosen, of_class, of_class & chosen, of_others, of_others & chosen]
    counts = np.array([np.bincount(place[mask], minlength=len(names)) for mask in masks]).T
    return {str(name): GroupCounts(*map(int, row)) for name, row in zip(names, counts, strict=True)}


def compare_groups(counts: Mapping[str, GroupCounts], rate: Rate, alpha: float) -> Fairness:
    """A rate by group, and what lies between each two groups.

    Each rate's interval holds with 1 - alpha by itself. Those of the gaps hold all together: alpha is shared among the
    pairs (Bonferroni), each from the two groups' own intervals (`intervals.difference`, `intervals.ratio`).

    >>> groups = {"women": GroupCounts(1000, 82), "men": GroupCounts(1000, 256), "unknown": GroupCounts(12, 1)}
    >>> told = compare_groups(groups, Rate.SELECTION, 0.05)
    >>> gap = told.gaps[0]
    >>> gap.lower, gap.higher, round(gap.ratio.value, 2), round(gap.ratio.high, 2), list(told.short)
    ('women', 'men', 0.32, 0.4, ['unknown'])

    Raises:
        ValueError: there are more than `MOST_GROUPS` groups: too many for a sensitive column.
    """
    if len(counts) > MOST_GROUPS:
        raise ValueError(f"{len(counts)} groups are more than the {MOST_GROUPS} that can be compared")
    short = {name: lack for name, group in counts.items() if (lack := _lack(name, group, rate))}
    enough = {name: group for name, group in counts.items() if name not in short}
    rates = {name: proportion(*group.of(rate), alpha) for name, group in enough.items()}
    pairs = list(combinations(enough, 2))
    share = alpha / max(1, len(pairs))
    narrow = {name: proportion(*group.of(rate), share) for name, group in enough.items()}
    gaps = [_gap(pair, narrow) for pair in pairs]
    return Fairness(rates, short, tuple(sorted(gaps, key=lambda gap: -gap.difference.value)))


def _lack(name: str, group: GroupCounts, rate: Rate) -> TooLittleData | None:
    _, of = group.of(rate)
    try:
        require(f"rows of group {name!r} that count for the {rate.replace('_', ' ')}", of, group.rows)
    except TooLittleData as lack:
        return lack
    return None


def _gap(pair: tuple[str, str], rates: Mapping[str, Estimate]) -> Gap:
    lower, higher = sorted(pair, key=lambda name: rates[name].value)
    low, high = rates[lower], rates[higher]
    return Gap(lower, higher, difference(high, low), ratio(low, high) if high.low > 0 else None)
