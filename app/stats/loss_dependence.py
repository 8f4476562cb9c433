"""By how much dependence between rows widens what is told of a model's losses: as how many rows one labelled row counts.

Errors come in bursts: a row that follows a wrong answer is wrong more often than others. Two sources say how much, as for
columns (`dependence`): labelled rows in the order of the log, which is that of time, and the sums of five minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.stats.dependence import Dependence, design_effects, of_means, worst_of
from app.stats.row_dependence import of_sequence

BURST = 200  # rows: in longer blocks a fall itself looks like dependence, in shorter ones rows of .9 do not
LEAST_BUCKETS = 16  # fewer say too little about dependence
LEAST_LABELS = 32  # in each: what reaches from one bucket into the next is taken for drift
_NOTHING = Dependence(np.ones(1), np.zeros(1))


@dataclass(frozen=True)
class LossSums:
    """The losses of the labelled rows of one bucket.

    Attributes:
        rows: how many there are.
        total, squares: the sums of the losses and of their squares.
    """

    rows: int
    total: float
    squares: float

    def __add__(self, other: "LossSums") -> "LossSums":
        return LossSums(self.rows + other.rows, self.total + other.total, self.squares + other.squares)


def of_loss_rows(losses: Sequence[ArrayLike]) -> Dependence:
    """What labelled rows in their order show, of the kind of loss that shows the most.

    Args:
        losses: of each kind, such as sizes and squares of errors, shape (rows,) in the order of time.

    >>> is_wrong = np.repeat(np.random.default_rng(2).random(1000) < 0.1, 2)
    >>> bool(1.8 < of_loss_rows([is_wrong]).effects[0] < 2.2)
    True
    """
    found = [of_sequence(_relative(np.asarray(kind, np.float64)), block=BURST) for kind in losses]
    return worst_of([Dependence(np.array([effect]), np.array([freedom])) for effect, freedom in found])


def _relative(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Beside the largest: dependence has no unit, and what varies by too little counts as constant."""
    return losses / (losses.max(initial=0.0) or 1.0)


def of_loss_buckets(kinds: Sequence[Sequence[LossSums]]) -> Dependence:
    """What the sums of buckets show, of the kind of loss that shows the most; nothing where there are too few.

    Buckets of few labels are put together first, so that most of the dependence lies within each.

    Args:
        kinds: of each kind of loss the buckets with labels, in the order of time.
    """
    found = [_of_sums(_put_together(buckets)) for buckets in kinds]
    return worst_of(found) if found else _NOTHING


def _put_together(buckets: Sequence[LossSums]) -> list[LossSums]:
    together: list[LossSums] = []
    for bucket in buckets:
        if together and together[-1].rows < LEAST_LABELS:
            together[-1] += bucket
        else:
            together.append(bucket)
    return together


def _of_sums(buckets: Sequence[LossSums]) -> Dependence:
    if len(buckets) < LEAST_BUCKETS:
        return _NOTHING
    rows, total, squares = (
        np.array([[getattr(bucket, name)] for bucket in buckets], np.float64)
        for name in ("rows", "total", "squares")
    )
    return of_means(rows, total / rows, squares / rows)


def loss_effect(rows: Dependence, buckets: Dependence) -> float | None:
    """How many labelled rows count for one, at least 1; None where neither source says anything.

    >>> independent, silent = (Dependence(np.array([1.0]), np.array([freedom])) for freedom in (500.0, 0.0))
    >>> loss_effect(independent, silent), loss_effect(silent, silent)
    (1.0, None)
    """
    if rows.freedom[0]:
        return float(design_effects(rows, buckets)[0])
    return float(design_effects(None, buckets)[0]) if buckets.freedom[0] else None
