"""What a comparison of a window with its reference means: what drifted, how far, and what to do. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isfinite, log
from typing import TYPE_CHECKING

import numpy as np

from app.monitoring.kinds import Finding, Recommendation
from app.runtimes.profiles import Source, Watched

if TYPE_CHECKING:
    from app.stats.drift import Comparison
    from app.stats.effects import Effects, Floats

MOST_NAMED = 5
_USUAL_SPREAD = 28.0
"""Up to which noncentrality a chi-squared variable with nine degrees of freedom (ten groups) may well be at its mean, for
each of fifty columns at 97.5 % together."""


@dataclass(frozen=True)
class ColumnDrift:
    """One column of a window beside its reference.

    Attributes:
        p_value: the chance of any such difference, had nothing changed; of all questions together.
        question: what showed it most.
        drifted: whether the p-value is below the column's share of the false-alarm rate.
        distance, low, high: Jensen–Shannon distance, free of sampling's share, with its 95 % interval.
        weight: importance of the column beside the most important one, in [0, 1].
        design_effect: how many of its rows count for one, because they depend on each other.
    """

    column: Watched
    p_value: float
    question: str
    p_values: dict[str, float]
    drifted: bool
    distance: float
    low: float
    high: float
    psi: float
    shift: float | None
    spread: float | None
    wasserstein: float | None
    weight: float
    design_effect: float


@dataclass(frozen=True)
class DriftVerdict:
    """A window as a whole.

    Attributes:
        score, low, high: the largest weighted distance of an input, and its interval, in which it is allowed for that it is
            the largest of so many.
        effective_rows: as how many independent ones the window's count, in the input where they count least.
        rows_needed: how many more would be enough to tell; None when the reference is too small for that ever.
    """

    finding: Finding
    recommendation: Recommendation
    score: float
    low: float
    high: float
    effective_rows: int
    rows_needed: int | None
    columns: tuple[ColumnDrift, ...]

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        """The columns that did, the farthest first."""
        return tuple(column for column in self.columns if column.drifted)


def judge_drift(
    columns: Sequence[Watched],
    comparison: "Comparison",
    effects: "Effects",
    *,
    importances: Mapping[str, float],
    false_alarms: float,
    threshold: float,
    rows: int,
    reference_rows: int,
    design_effects: "Floats | None" = None,
) -> DriftVerdict:
    """What a window shows.

    Args:
        columns: of the plan, in the order of the comparison.
        comparison: the tests of each column.
        effects: how far each column moved.
        importances: of the model's inputs by name, as far as they are known.
        false_alarms: the rate that this look may spend, for all columns together.
        threshold: the score from which a model is to be trained again soon; from twice as much, at once.
        rows: of the window.
        reference_rows: of what it is held against.
        design_effects: how many rows of each column count for one; one where nothing is said.
    """
    compared = [(i, column) for i, column in enumerate(columns) if column.is_compared]
    weights, level = weigh(importances, columns), false_alarms / max(1, len(compared))
    counting = [1.0] * len(columns) if design_effects is None else design_effects.tolist()
    judged = [
        _judge_column(
            i, column, comparison, effects, weight=weights[i], level=level, design_effect=counting[i]
        )
        for i, column in compared
    ]
    ranked = sorted(judged, key=lambda each: (not each.drifted, -each.distance * each.weight, each.p_value))
    lows = [(_known(effects.low_of_all[i]) or 0.0) * weights[i] for i, column in compared if column.is_input]
    low = max(lows, default=0.0)
    return _sum_up(tuple(ranked), low=low, rows=rows, reference_rows=reference_rows, threshold=threshold)


def _sum_up(
    columns: tuple[ColumnDrift, ...], *, low: float, rows: int, reference_rows: int, threshold: float
) -> DriftVerdict:
    """That of the largest distance is above `low`, which holds for all; it is below the highest end of any."""
    inputs = [each for each in columns if each.column.is_input]
    score, high = (
        max((getattr(each, name) * each.weight for each in inputs), default=0.0)
        for name in ("distance", "high")
    )
    is_proven = any(each.drifted for each in columns)
    largest = max((each.design_effect for each in inputs), default=1.0)
    needed = rows_needed(rows, reference_rows, threshold, largest)
    return DriftVerdict(
        _find(is_proven=is_proven, high=high, threshold=threshold, needed=needed),
        recommend(is_proven=is_proven, low=low, threshold=threshold),
        score,
        low,
        high,
        floor(rows / largest),
        needed,
        columns,
    )


def weigh(importances: Mapping[str, float], columns: Sequence[Watched]) -> list[float]:
    """Each column's importance beside the largest; all weigh the same where none is known.

    >>> weigh({}, [])
    []
    """
    largest = max((abs(value) for value in importances.values()), default=0.0)
    if not largest:
        return [1.0] * len(columns)
    return [abs(importances.get(column.name, largest)) / largest for column in columns]


def recommend(*, is_proven: bool, low: float, threshold: float) -> Recommendation:
    """What drift alone asks for: proven, and past the threshold with its whole interval.

    >>> recommend(is_proven=True, low=0.15, threshold=0.1)
    <Recommendation.RETRAIN_SOON: 'RETRAIN_SOON'>
    """
    if is_proven and low > 2 * threshold:
        return Recommendation.RETRAIN_IMMEDIATELY
    if is_proven and low > threshold:
        return Recommendation.RETRAIN_SOON
    return Recommendation.NO_ACTION_NEEDED


def rows_needed(rows: int, reference_rows: int, threshold: float, design_effect: float = 1.0) -> int | None:
    """How many more rows tell an undrifted column from one past the threshold; None when no number of them can.

    >>> rows_needed(100, 10_000, 0.1), rows_needed(5000, 10_000, 0.1), rows_needed(100, 50, 0.1)
    (432, 0, None)
    """
    share = 8 * log(2) * threshold**2 / _USUAL_SPREAD / design_effect - (
        1 / reference_rows if reference_rows else inf
    )
    return None if share <= 0 else max(0, ceil(1 / share) - rows)


def _find(*, is_proven: bool, high: float, threshold: float, needed: int | None) -> Finding:
    if is_proven:
        return Finding.DRIFT
    return Finding.NO_RELEVANT_DRIFT if needed == 0 and high <= threshold else Finding.TOO_LITTLE_DATA


def _judge_column(
    i: int,
    column: Watched,
    comparison: "Comparison",
    effects: "Effects",
    *,
    weight: float,
    level: float,
    design_effect: float,
) -> ColumnDrift:
    from app.stats.drift import Question  # noqa: PLC0415 - and SciPy with it

    p_values = dict(zip(map(str, Question), comparison.p_values[i].tolist(), strict=True))
    return ColumnDrift(
        column,
        float(comparison.p[i]),
        min(p_values, key=lambda question: p_values[question]),
        p_values,
        bool(comparison.p[i] < level),
        _known(effects.distance[i]) or 0.0,
        _known(effects.distance_low[i]) or 0.0,
        _known(effects.distance_high[i]) or 0.0,
        _known(effects.psi[i]) or 0.0,
        _known(effects.shift[i]),
        _known(effects.spread[i]),
        _known(effects.wasserstein[i]),
        weight,
        design_effect,
    )


def _known(value: np.float64) -> float | None:
    return float(value) if isfinite(value) else None


def advise(verdict: DriftVerdict, threshold: float) -> list[str]:
    """The verdict in sentences, for people."""
    if verdict.finding == Finding.TOO_LITTLE_DATA:
        return [_more_rows(verdict.rows_needed)]
    if verdict.finding == Finding.NO_RELEVANT_DRIFT:
        return [f"No column moved by as much as the threshold of {threshold:g}."]
    names = ", ".join(each.column.name for each in verdict.drifted[:MOST_NAMED])
    sentences = [f"Look first at {names}."]
    if verdict.recommendation == Recommendation.NO_ACTION_NEEDED:
        sentences.append(f"The change is proven, but not that it is past the threshold of {threshold:g}.")
    if any(each.column.source == Source.PREDICTION for each in verdict.drifted):
        sentences.append("The model's own answers have shifted as well.")
    return sentences


def _more_rows(needed: int | None) -> str:
    if needed is None:
        return "The reference holds too few rows for this threshold; register a version with a larger sample."
    return (
        f"Too few rows to tell; about {needed:,} more are needed."
        if needed
        else "Too close to the threshold to tell."
    )
