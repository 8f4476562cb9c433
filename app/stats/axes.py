"""The bins into which a profile counts the values of one column: made once, from a reference, and kept for ever.

Bins of equal reference mass follow any distribution, merge by adding integers, and let the Kolmogorov–Smirnov
statistic be read off with an error of at most the largest bin's mass.
"""

import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.stats.labels import MOST, LabelCounts

BINS = 128
FARTHEST_NUMBER = 1e150
"""What is farther from zero stands as far as this on an axis: squares and differences of such are numbers still."""
ROUNDING = 2.0**-20
"""Of a value: by as much it may come rounded, as by a caller who keeps it in 32 bits, and stays in its bin."""
_LARGEST = float(np.finfo(np.float64).max)
QUANTILES = 120  # a multiple of ten, so that the deciles are among the edges
TAIL = 0.001
SPANS_BEYOND = (
    0.25,
    1.0,
    4.0,
)  # of the central span, on both sides: where a column goes when it leaves its range
GROUPS = 16
TOP = BINS - GROUPS - 2
OTHER, UNSEEN = TOP, TOP + 1


@dataclass(frozen=True, eq=False)
class NumericAxis:
    """The bins of a numeric column: bin i holds the values in (edges[i - 1], edges[i]].

    Attributes:
        edges: ascending, without repetitions, a little above the values that they were made from, shape (at most `BINS` - 1,).
        centre, scale: mean and standard deviation of the reference (1 where it is constant), the unit of sums.
        low, high: the reference's extremes, likewise a little wider.
        deciles: the places of its nine deciles among the edges.
        tails: the places of its 0.1 % and 99.9 % quantiles among them.
    """

    edges: NDArray[np.float64]
    centre: float
    scale: float
    low: float
    high: float
    deciles: NDArray[np.intp]
    tails: tuple[int, int]

    def bins_of(self, values: NDArray[np.float64]) -> NDArray[np.intp]:
        """The bin of each finite value."""
        return np.searchsorted(self.edges, values, side="left")


def numeric_axis(values: ArrayLike) -> NumericAxis:
    """The axis of a numeric reference: its 1/120 quantiles, two for the tails and three on each side beyond them.

    Numbers beyond `FARTHEST_NUMBER` are taken for it, but among the extremes.

    Args:
        values: the reference, shape (rows,); what is not finite is left out.

    Raises:
        ValueError: nothing in it is finite.

    >>> axis = numeric_axis(range(1, 1001))
    >>> len(axis.edges), axis.bins_of(np.array([0.0, 9.0, 10.0, 5000.0])).tolist()
    (127, [3, 4, 5, 127])
    """
    finite = np.asarray(values, np.float64)
    finite = np.sort(finite[np.isfinite(finite)])
    if not len(finite):
        raise ValueError("a reference without a finite value has no axis")
    lowest, highest = float(finite[0]), float(finite[-1])
    finite = finite.clip(-FARTHEST_NUMBER, FARTHEST_NUMBER)
    levels = np.arange(1, QUANTILES) / QUANTILES
    inner = _quantiles(finite, levels)
    low, high = _quantiles(finite, np.array([TAIL, 1 - TAIL]))
    steps = np.array(SPANS_BEYOND) * (high - low)
    edges = np.unique(np.concatenate([low - steps, [low], inner, [high], high + steps]))
    deciles = np.searchsorted(edges, inner[QUANTILES // 10 - 1 :: QUANTILES // 10])
    tails = np.searchsorted(edges, [low, high])
    return NumericAxis(
        _with_room(edges, finite),
        float(finite.mean()),
        float(finite.std()) or 1.0,
        max(lowest - abs(lowest) * ROUNDING, -_LARGEST),
        min(highest + abs(highest) * ROUNDING, _LARGEST),
        deciles,
        (int(tails[0]), int(tails[1])),
    )


def _with_room(edges: NDArray[np.float64], ascending: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges above which nothing else of the reference comes to lie, so that its own values may be rounded up."""
    next_value = np.append(ascending, np.inf)[np.searchsorted(ascending, edges, side="right")]
    room = np.minimum(next_value, np.append(edges[1:], np.inf)) - edges
    wider: NDArray[np.float64] = edges + np.minimum(np.abs(edges) * ROUNDING, room / 2)
    return wider


def _quantiles(ascending: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least values at which the empirical distribution reaches the levels: values that occur."""
    places = np.ceil(levels * len(ascending) - 1e-9).astype(np.intp) - 1
    return ascending[np.maximum(places, 0)]


@dataclass(frozen=True, eq=False)
class CategoryAxis:
    """The bins of a column of labels: the most frequent ones, the others, new ones; and all of them once more, by hash.

    Which labels of many are the most frequent is partly luck, and a test on them would find that luck gone. The
    groups by hash don't depend on what the reference held.

    Attributes:
        top: the most frequent labels of the reference, the most frequent first; at most `TOP`.
        rest: its other labels.
        singles: how many of its labels occur once. Their share of the rows is what to expect of labels not seen before
            (Good, Biometrika 40, 1953, p. 237-264).
    """

    top: tuple[str, ...]
    rest: frozenset[str]
    singles: int

    @property
    def distinct(self) -> int:
        """How many labels the reference held."""
        return len(self.top) + len(self.rest)

    @cached_property
    def _places(self) -> dict[str, int]:
        return dict.fromkeys(self.rest, OTHER) | {label: i for i, label in enumerate(self.top)}

    def count(self, labels: Iterable[str], most: int = MOST) -> tuple[NDArray[np.int64], LabelCounts]:
        """How many labels fall into each bin, shape (`BINS`,), and how often each was seen that has none of its own.

        The last `GROUPS` bins count all labels again, by hash. `most` labels without a bin are told apart.
        """
        counts, beyond = np.zeros(BINS, np.int64), Counter[int]()
        for label, times in Counter(labels).items():
            place, digest = self._places.get(label, UNSEEN), zlib.crc32(label.encode())
            counts[place] += times
            counts[BINS - GROUPS + digest % GROUPS] += times
            if place >= OTHER:
                beyond[digest] += times
        return counts, LabelCounts.of(beyond, most)


def category_axis(labels: Iterable[str]) -> CategoryAxis:
    """The axis of a reference of labels, nulls left out.

    >>> axis = category_axis(["a", "b", "a"])
    >>> counts, beyond = axis.count(["a", "b", "c", "c"])
    >>> axis.top, counts[[0, 1, OTHER, UNSEEN]].tolist(), beyond.counts.tolist()
    (('a', 'b'), [1, 1, 0, 2], [2])
    """
    counted = Counter(labels)
    ranked = sorted(counted, key=lambda label: (-counted[label], label))
    singles = sum(count == 1 for count in counted.values())
    return CategoryAxis(tuple(ranked[:TOP]), frozenset(ranked[TOP:]), singles)


Axis = NumericAxis | CategoryAxis
