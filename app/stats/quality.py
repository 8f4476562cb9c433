"""Which values of a window are not as a model's inputs should be, by how often such values are usual.

A flaw counts for what is beyond its usual share and beyond chance: three standard errors, those of the reference among
them. So neither a column of which a third was always missing nor a small window lowers the score by itself.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.stats.axes import UNSEEN, CategoryAxis, numeric_axis  # noqa: F401 - for the doctest
from app.stats.profile import ABOVE, BELOW, NOT_FINITE, NULL, Layout, Profile, observe  # noqa: F401 - as above

Floats = NDArray[np.float64]
CHANCE = 3.0  # standard errors


class Flaw(StrEnum):
    """What may be wrong with a value."""

    MISSING = "missing"
    NOT_FINITE = "not_finite"
    BELOW_RANGE = "below_range"
    ABOVE_RANGE = "above_range"
    NEW_CATEGORY = "new_category"


FLAWS = tuple(Flaw)


@dataclass(frozen=True)
class Flaws:
    """The flaws of each column.

    Attributes:
        values: how many values the window has of each column, shape (columns,).
        shares: of the values that have each flaw, shape (columns, flaws), in [0, 1]; 0 for a column without values.
        usual: the shares that the reference lets expect, same shape.
        excess: what is beyond these and beyond chance, same shape.
    """

    values: NDArray[np.int64]
    shares: Floats
    usual: Floats
    excess: Floats

    @property
    def flawed(self) -> Floats:
        """The share of each column's values that count as flawed: no value has two flaws."""
        flawed: Floats = np.minimum(self.excess.sum(axis=1), 1.0)
        return flawed


def find_flaws(reference: Profile, window: Profile) -> Flaws:
    """What is wrong with the values of a window, beyond what is so in its reference.

    Outside the reference's range lies one value in n + 1 on either side, whatever the distribution; of new categories come
    as many as the reference has that occur once (Good, Biometrika 40, 1953, p. 237-264).

    Raises:
        ValueError: their layouts differ, or the window holds no value.

    >>> layout = Layout((numeric_axis(range(1000)),))
    >>> was = observe(layout, [np.arange(1000.0)])
    >>> now = observe(layout, [np.array([np.nan, 5000.0, 20.0, 30.0] * 50)])
    >>> find_flaws(was, now).shares.tolist(), find_flaws(was, now).flawed.round(2).tolist()
    ([[0.25, 0.0, 0.0, 0.25, 0.0]], [0.49])
    """
    if reference.layout is not window.layout:
        raise ValueError("profiles along different axes can't be compared")
    values = _values(window)
    if not values.any():
        raise ValueError("a window without values has no flaws and no quality")
    known, counted = _values(reference), _counts(window)
    size = np.maximum(values, 1)[:, np.newaxis]
    shares = counted / size
    usual, variance = _usual(reference, known)
    error = np.sqrt(variance + usual * (1 - usual) / size)
    return Flaws(values, shares, usual, np.maximum(shares - usual - CHANCE * error, 0.0))


def score(flawed: Floats, refused: float = 0.0, repeated: float = 0.0) -> float:
    """How good the rows of a window are, from 0 to 1: (1 - refused) x (1 - repeated) x (1 - the worst column's flawed share).

    As columns are counted one by one, this is the largest share of rows that can be without a flaw.

    Args:
        flawed: the flawed share of each column that counts; none where no row could be read.
        refused: the share of rows that could not be read at all.
        repeated: the share of rows that are another's repetition, where that is a flaw.

    Raises:
        ValueError: a share is none.

    >>> score(np.array([0.0, 0.2]), refused=0.5)
    0.4
    """
    worst = float(flawed.max(initial=0.0))
    if not all(0.0 <= share <= 1.0 for share in (worst, refused, repeated)):
        raise ValueError("a share lies between 0 and 1")
    return (1 - refused) * (1 - repeated) * (1 - worst)


def _values(profile: Profile) -> NDArray[np.int64]:
    values: NDArray[np.int64] = profile.sizes + profile.counts[:, NULL] + profile.counts[:, NOT_FINITE]
    return values


def _counts(profile: Profile) -> NDArray[np.int64]:
    """How many values have each flaw; in columns of numbers the cell of new labels is a bin like any other."""
    counts = profile.counts[:, [NULL, NOT_FINITE, BELOW, ABOVE, UNSEEN]]
    counts[profile.layout.numeric, 4] = 0
    return counts


def _usual(reference: Profile, known: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The shares to expect, and the variances of these expectations."""
    counts, layout = _counts(reference).astype(np.float64), reference.layout
    size = known[:, np.newaxis].astype(np.float64)
    usual = (counts + 0.5) / (size + 1)
    variance = usual * (1 - usual) / (size + 1)
    finite = reference.sizes.astype(np.float64)
    usual[:, 2:4] = (1 / (finite + 1))[:, np.newaxis]
    variance[:, 2:4] = usual[:, 2:4] ** 2
    for i in layout.labelled:
        axis = layout.axes[i]
        assert isinstance(axis, CategoryAxis)
        usual[i, 4] = (axis.singles + 0.5) / (finite[i] + 1)
        variance[i, 4] = (axis.singles + 0.5) / (finite[i] + 1) ** 2
    return np.minimum(usual, 1.0), variance
