"""Far tails of a sum of scores under permutation, where few rows, or rare scores, are beyond what fitted moments tell.

The window's rows are taken for the ones of independent trials, one for each row of both samples, given how many there are: a
conditional saddlepoint approximation (Skovgaard, J. Appl. Probab. 24, 1987; for permutations Robinson, J. R. Stat. Soc. B 44, 1982).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

MOST_STEPS = 60
CLOSE = 1e-6  # of the window's rows, and of their scores in standard deviations
FARTHEST = 500.0  # of an exponent


@dataclass(frozen=True)
class _Tilted:
    """The trials under an exponential tilt, shape (columns,): how many rows and which score they give, and how these vary."""

    rows: Floats
    score: Floats
    of_rows: Floats
    of_both: Floats
    of_score: Floats
    cumulant: Floats


def upper_tails(scores: Floats, pooled: Floats, now: Floats) -> Floats:
    """The chance of a sum of scores as large as the window's, or larger, given the two samples together; 1 where unknown.

    Args:
        scores: of each bin, shape (columns, bins).
        pooled: rows of both samples in each bin, of the same shape; they may be fractions.
        now: those of the window.

    >>> bins = np.arange(5.0)[np.newaxis]
    >>> tail = upper_tails(bins, np.full((1, 5), 200.0), np.array([[1.0, 2, 3, 4, 10]]))
    >>> 0.0004 < float(tail[0]) < 0.0007  # by drawing: 0.00064 as large, 0.00038 larger
    True
    """
    total, size = pooled.sum(axis=1), now.sum(axis=1)
    mean = (pooled * scores).sum(axis=1) / total
    centred = scores - mean[:, np.newaxis]
    spread = np.sqrt((pooled * centred**2).sum(axis=1) / total)
    is_possible = (spread > 0) & (size > 0) & (size < total)
    standard = centred / np.where(spread > 0, spread, 1.0)[:, np.newaxis]
    share = np.where(is_possible, size / total, 0.5)
    target = (now * standard).sum(axis=1)
    shift, tilt, tilted, is_found = _solve(standard, pooled, share, size, target)
    tails = _tail(shift, tilt, tilted, size, target, total * share * (1 - share))
    return np.where(is_possible & is_found & np.isfinite(tails), tails, 1.0).clip(0.0, 1.0)


def _solve(
    scores: Floats, pooled: Floats, share: Floats, size: Floats, target: Floats
) -> tuple[Floats, Floats, _Tilted, NDArray[np.bool_]]:
    """Where the tilted trials give what was seen, by Newton's steps, none of them long."""
    shift, tilt = np.zeros_like(size), np.zeros_like(size)
    farthest = np.where(pooled > 0, np.abs(scores), 0.0).max(axis=1)
    for _ in range(MOST_STEPS):
        at = _tilted(scores, pooled, share, shift, tilt)
        off_rows, off_score = at.rows - size, at.score - target
        is_found = (np.abs(off_rows) < CLOSE * size) & (np.abs(off_score) < CLOSE * np.sqrt(size))
        if is_found.all():
            break
        volume = (at.of_rows * at.of_score - at.of_both**2).clip(1e-300)
        step = (at.of_score * off_rows - at.of_both * off_score) / volume
        turn = (at.of_rows * off_score - at.of_both * off_rows) / volume
        longest = np.maximum(np.abs(step), np.abs(turn) * farthest).clip(1.0)
        shift, tilt = shift - step / longest, tilt - turn / longest
    return shift, tilt, at, is_found


def _tilted(scores: Floats, pooled: Floats, share: Floats, shift: Floats, tilt: Floats) -> _Tilted:
    exponents = (shift[:, np.newaxis] + tilt[:, np.newaxis] * scores).clip(-FARTHEST, FARTHEST)
    odds = (share / (1 - share))[:, np.newaxis] * np.exp(exponents)
    chance = odds / (1 + odds)
    varying = pooled * chance * (1 - chance)
    cumulant = (pooled * (np.log1p(odds) + np.log1p(-share)[:, np.newaxis])).sum(axis=1)
    return _Tilted(
        (pooled * chance).sum(axis=1), (pooled * chance * scores).sum(axis=1), varying.sum(axis=1),
        (varying * scores).sum(axis=1), (varying * scores**2).sum(axis=1), cumulant,
    )  # fmt: skip


def _tail(shift: Floats, tilt: Floats, at: _Tilted, size: Floats, target: Floats, untilted: Floats) -> Floats:
    """Barndorff-Nielsen's form of the approximation, which can't leave 0 to 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sign(tilt) * np.sqrt(2 * (shift * size + tilt * target - at.cumulant).clip(0.0))
        wald = tilt * np.sqrt((at.of_rows * at.of_score - at.of_both**2).clip(0.0) / untilted)
        tails: Floats = special.ndtr(-(root + np.log(wald / root) / root))
    return tails
