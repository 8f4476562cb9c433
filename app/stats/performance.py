"""Has a model's performance fallen? A metric now, held against the baseline that it was registered with."""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, isfinite

from app.stats.intervals import Estimate, ratio
from app.stats.magnitudes import unit_of


class Standing(StrEnum):
    """What is proven of the relative loss."""

    FALLEN = "fallen"  # it is past the threshold
    HOLDING = "holding"  # it is not past it
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Verdict:
    """Where a metric stands beside its baseline.

    Attributes:
        standing: what is proven.
        loss: how much worse than the baseline, relative to it: 0.1 is a tenth of an accuracy lost, or an error that
            grew by a tenth; negative where the model does better.
        labels_missing: about how many more labels will tell if the loss stays as it seems. None when it is told, or when
            the baseline itself is known too badly to ever tell.
    """

    standing: Standing
    loss: Estimate
    labels_missing: int | None = None


def judge(now: Estimate, baseline: Estimate, threshold: float, *, more_is_better: bool) -> Verdict:
    """Whether a metric has fallen past a relative threshold, right with probability 1 - alpha of the two intervals.

    Over many looks, give each look's intervals the alpha that its allowance leaves it (`looks.allowance`): the union bound
    then holds for them all.

    Args:
        now: the metric of labelled rows in the window.
        baseline: the same metric of the rows that it was registered with, or `known`.
        threshold: the relative loss that is too much, in (0, 1).
        more_is_better: true of accuracy, false of errors.

    >>> from app.stats.intervals import known, proportion
    >>> judge(proportion(700, 1000, 0.05), known(0.9), 0.15, more_is_better=True).standing
    <Standing.FALLEN: 'fallen'>
    >>> verdict = judge(proportion(150, 200, 0.05), known(0.9), 0.15, more_is_better=True)
    >>> verdict.standing, verdict.labels_missing
    (<Standing.UNDECIDED: 'undecided'>, 2481)

    Raises:
        ValueError: the threshold is not in (0, 1), or the baseline may be 0 or less, so that nothing is relative to it.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"a relative threshold lies between 0 and 1, not at {threshold}")
    loss = _loss(ratio(now, baseline), -1 if more_is_better else 1)
    if loss.low > threshold:
        return Verdict(Standing.FALLEN, loss)
    if loss.high < threshold:
        return Verdict(Standing.HOLDING, loss)
    bound = 1 - threshold if more_is_better else 1 + threshold
    return Verdict(Standing.UNDECIDED, loss, _labels_missing(now, baseline, bound))


def _loss(relative: Estimate, sign: int) -> Estimate:
    low, high = sorted((sign * (relative.low - 1), sign * (relative.high - 1)))
    return Estimate(sign * (relative.value - 1), low, high, relative.rows)


def _labels_missing(now: Estimate, baseline: Estimate, bound: float) -> int | None:
    """Until the interval of now - bound · baseline leaves 0, the part of it that more labels narrow being that of now."""
    gap = now.value - bound * baseline.value
    mine = now.high - now.value if gap < 0 else now.value - now.low
    theirs = bound * (baseline.value - baseline.low if gap < 0 else baseline.high - baseline.value)
    unit = unit_of(gap)
    gap, mine, theirs = gap / unit, mine / unit, theirs / unit
    if gap * gap <= theirs * theirs:
        return None
    missing = now.rows * (mine * mine) / (gap * gap - theirs * theirs) - now.rows
    return max(1, ceil(missing)) if isfinite(missing) else None
