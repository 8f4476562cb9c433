"""How often each of many labels was seen, in bounded space; and whether one of them came from nowhere.

Labels are told apart by the first bits of a hash: by all of them as long as few enough were seen, by one bit less whenever
there are too many. How many bits that leaves depends on what was seen alone, so merging is exact in any order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[Any]
Hashes = NDArray[np.uint32]

HASH_BITS = 32
MOST = 4096
"""Cells of a window: as many rows of different labels can be told apart, and more need no telling apart to stick out."""
MOST_OF_REFERENCE = 1 << 17
"""Cells of a reference, which is kept once."""
OF_NEW = 0.8
"""The part of false alarms that labels which came from nowhere may raise; the rest is for those that were rare before."""


@dataclass(frozen=True, eq=False)
class LabelCounts:
    """Labels by the first bits of their hashes.

    Attributes:
        bits: how many of them.
        hashes: these bits, ascending, uint32, shape (cells,).
        counts: of each, from 1; fractions where a mixture weighted them.
    """

    bits: int
    hashes: Hashes
    counts: Counts

    @classmethod
    def empty(cls) -> Self:
        """Nothing seen."""
        return cls(HASH_BITS, np.zeros(0, np.uint32), np.zeros(0, np.int64))

    @classmethod
    def of(cls, seen: Mapping[int, int], most: int = MOST) -> "LabelCounts":
        """Labels by their whole hashes, each with how often it was seen.

        >>> LabelCounts.of({7: 2, 1 << 31: 1, 5: 1}, most=2).counts.tolist()
        [3, 1]
        """
        hashes = np.fromiter(seen.keys(), np.uint32, len(seen))
        counts = np.fromiter(seen.values(), np.int64, len(seen))
        return _fit(HASH_BITS, hashes, counts, most)

    def at(self, bits: int) -> "LabelCounts":
        """The same by fewer bits."""
        return self if bits == self.bits else _add_up(bits, _first(self, bits), self.counts)

    def times(self, weight: float) -> "LabelCounts":
        """Everything counted so many times."""
        return LabelCounts(self.bits, self.hashes, self.counts * weight)

    def to_bytes(self) -> bytes:
        """The number of bits and of cells, the hashes and the counts, all as little-endian 32-bit integers."""
        head = np.array([self.bits, len(self.hashes)], "<u4")
        return head.tobytes() + self.hashes.astype("<u4").tobytes() + self.counts.astype("<u4").tobytes()


def write_all(columns: Sequence[LabelCounts]) -> bytes:
    """The labels of some columns, one after the other; nothing where there are none at all."""
    is_any = any(len(each.hashes) for each in columns)
    return b"".join(each.to_bytes() for each in columns) if is_any else b""


def read_all(stored: bytes, columns: int) -> tuple[LabelCounts, ...]:
    """What `write_all` wrote.

    Raises:
        ValueError: the bytes are not those of so many columns.

    >>> seen = LabelCounts.of({3: 1}), LabelCounts.empty()
    >>> [each.counts.tolist() for each in read_all(write_all(seen), 2)]
    [[1], []]
    """
    if not stored:
        return (LabelCounts.empty(),) * columns
    words, start, found = np.frombuffer(stored, "<u4"), 0, []
    for _ in range(columns):
        bits, cells = words[start : start + 2].tolist()
        ends = start + 2 + cells, start + 2 + 2 * cells
        found.append(LabelCounts(bits, words[start + 2 : ends[0]], words[ends[0] : ends[1]].astype(np.int64)))
        start = ends[1]
    if start != len(words):
        raise ValueError("the labels of more columns than there are")
    return tuple(found)


def merge_labels(parts: Sequence[LabelCounts], most: int = MOST) -> LabelCounts:
    """All parts together.

    >>> once, twice = LabelCounts.of({7: 1}), LabelCounts.of({7: 1, 9: 5})
    >>> merge_labels([once, twice]).counts.tolist()
    [2, 5]
    """
    seen = [part for part in parts if len(part.hashes)]
    if len(seen) < 2:
        return _fit(seen[0].bits, seen[0].hashes, seen[0].counts, most) if seen else LabelCounts.empty()
    bits = min(part.bits for part in seen)
    hashes = np.concatenate([_first(part, bits) for part in seen])
    return _fit(bits, hashes, np.concatenate([part.counts for part in seen]), most)


def _first(labels: LabelCounts, bits: int) -> Hashes:
    return labels.hashes >> np.uint32(labels.bits - bits)


def _fit(bits: int, hashes: Hashes, counts: Counts, most: int) -> LabelCounts:
    """By as many bits as leave no more cells than `most`."""
    order = np.argsort(hashes, kind="stable")
    found = _add_up(bits, hashes[order], counts[order])
    while len(found.hashes) > most:
        found = found.at(found.bits - 1)
    return found


def _add_up(bits: int, ascending: Hashes, counts: Counts) -> LabelCounts:
    if not len(ascending):
        return LabelCounts(bits, ascending, counts)
    starts = np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]]))
    return LabelCounts(bits, ascending[starts], np.add.reduceat(counts, starts))


def from_nowhere(was: LabelCounts, now: LabelCounts, share: float, design_effect: float = 1.0) -> float:
    """The p-value of the label that grew most from a reference to a window, whichever it is: from none at all, or from few.

    Given how often each label was seen in both together, each of its rows falls on the window with the same chance.
    That all of them did is asked of labels which the reference did not have, that too many did of the others. Each
    answer adds up the chances of all labels that could have given it, since some never can (Tarone, Biometrics 46,
    1990, p. 515-522); a binomial stands for the hypergeometric distribution, on the safe side.

    Args:
        was: the labels of the reference.
        now: those of the window.
        share: of the window in the rows of both, in (0, 1).
        design_effect: how many rows count for one.

    Raises:
        ValueError: the share is none.

    >>> usual = LabelCounts.of({label: 4 for label in range(1000)})
    >>> one, seven = (LabelCounts.of({1: 1, 2: 1, 5000: rows}) for rows in (1, 7))
    >>> from_nowhere(usual, one, 0.1) > 0.2, from_nowhere(usual, seven, 0.1) < 1e-6
    (True, True)
    """
    if not 0 < share < 1:
        raise ValueError("a window and a reference that both hold rows have shares between 0 and 1")
    if not len(now.hashes):
        return 1.0
    bits = min(was.bits, now.bits)
    was, now = was.at(bits), now.at(bits)
    before, pooled = _pool(was, now)
    floors = share ** (pooled / design_effect)
    is_new = before == 0
    new = _from_none(now.counts[is_new], pooled, floors)
    grown = _from_few(now.counts[~is_new], before[~is_new], floors, share, design_effect)
    return min(1.0, new / OF_NEW, grown / (1 - OF_NEW))


def _pool(was: LabelCounts, now: LabelCounts) -> tuple[Counts, Counts]:
    """How often the reference saw each label of the window, and how often each label of either was seen in both."""
    if not len(was.hashes):
        return np.zeros(len(now.hashes)), now.counts
    places = np.searchsorted(was.hashes, now.hashes).clip(max=len(was.hashes) - 1)
    is_known = was.hashes[places] == now.hashes
    both = was.counts.astype(np.float64)
    both[places[is_known]] += now.counts[is_known]
    return np.where(is_known, was.counts[places], 0), np.concatenate([both, now.counts[~is_known]])


def _from_none(counts: Counts, pooled: Counts, floors: NDArray[np.float64]) -> float:
    """`floors` are the chances that all rows of a label fall on the window."""
    return float(floors[pooled >= counts.max()].sum()) if len(counts) else 1.0


def _from_few(
    counts: Counts, before: Counts, floors: NDArray[np.float64], share: float, design_effect: float
) -> float:
    from scipy import special  # noqa: PLC0415 - what counts labels is there from the start, SciPy is not waited for

    if not len(counts):
        return 1.0
    tails = special.betainc(counts / design_effect, before / design_effect + 1, share)
    least = float(tails.min())
    return least * int((floors <= least).sum())
