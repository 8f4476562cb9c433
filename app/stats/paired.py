"""Is one model worse than another on the very same rows?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class PairedLoss:
    """How a candidate did against a champion on the same rows.

    Attributes:
        rows: how many rows both answered.
        candidate, champion: mean loss of each; smaller is better.
        p_value: how likely a difference at least as bad for the candidate is if neither is worse, one-sided.
    """

    rows: int
    candidate: float
    champion: float
    p_value: float


def compare_errors(candidate_wrong: ArrayLike, champion_wrong: ArrayLike) -> PairedLoss:
    """The exact McNemar test, one-sided, on which rows each of two classifiers got wrong.

    Under the null hypothesis each discordant row is a fair coin (McNemar, Psychometrika 12, 1947, p. 153-157;
    the exact binomial form).

    Args:
        candidate_wrong: booleans, shape (rows,).
        champion_wrong: the same of the other classifier, in the same order.

    Raises:
        ValueError: no rows, or two different numbers of them.

    >>> compare_errors([True] * 9 + [False], [False] * 9 + [True]).p_value
    0.0107421875
    """
    from scipy.special import bdtr  # noqa: PLC0415 - heavy, and not needed to start the service

    candidate, champion = _aligned(candidate_wrong, champion_wrong, np.bool_)
    only_candidate = int(np.sum(candidate & ~champion))
    discordant = only_candidate + int(np.sum(champion & ~candidate))
    p_value = 1 - float(bdtr(only_candidate - 1, discordant, 0.5)) if only_candidate else 1.0
    return PairedLoss(candidate.size, float(candidate.mean()), float(champion.mean()), p_value)


def compare_losses(candidate_loss: ArrayLike, champion_loss: ArrayLike) -> PairedLoss:
    """The one-sided paired z-test on the mean difference of two losses over the same rows.

    Args:
        candidate_loss: shape (rows,), two rows at least.
        champion_loss: the same of the other model, in the same order and unit.

    Raises:
        ValueError: fewer than two rows, or two different numbers of them.

    >>> worse = compare_losses([2.0, 3.0, 2.5, 3.5], [1.0, 1.0, 1.0, 1.0])
    >>> worse.p_value < 0.01, worse.candidate
    (True, 2.75)
    """
    from scipy.special import ndtr  # noqa: PLC0415 - as above

    candidate, champion = _aligned(candidate_loss, champion_loss, np.float64)
    if candidate.size < 2:
        raise ValueError("two rows at least are needed to tell a difference from noise")
    difference = candidate - champion
    error = float(difference.std(ddof=1)) / np.sqrt(difference.size)
    mean = float(difference.mean())
    p_value = float(ndtr(-mean / error)) if error > 0 else (0.0 if mean > 0 else 1.0)
    return PairedLoss(candidate.size, float(candidate.mean()), float(champion.mean()), p_value)


def _aligned(first: ArrayLike, second: ArrayLike, kind: type) -> tuple[NDArray[Any], NDArray[Any]]:
    a: NDArray[Any] = np.asarray(first, dtype=kind)
    b: NDArray[Any] = np.asarray(second, dtype=kind)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"two vectors of one length are needed, got shapes {a.shape} and {b.shape}")
    if a.size == 0:
        raise ValueError("no rows to compare on")
    return a, b
