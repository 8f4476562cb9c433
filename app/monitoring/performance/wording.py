"""What people should know beside the verdict of a check."""

from datetime import datetime, timedelta

from app.evidence.outcome_sums import FIVE_MINUTES, end_of
from app.evidence.realised import Realised
from app.monitoring.performance.baselines import Baseline
from app.monitoring.performance.looking import PerformanceSeen


def say_what_is_baseline(seen: PerformanceSeen, baseline: Baseline | None) -> list[str]:
    """Which labels of the window became the baseline, in a sentence."""
    if baseline is None or baseline.until is None or baseline.until <= seen.period.since:
        return []
    until = f"{baseline.until:%Y-%m-%d %H:%M} UTC"
    return [
        f"The {baseline.labelled:,} labels until {until} are the baseline; `metrics` tells what came later."
    ]


def say_what_is_young(seen: PerformanceSeen, now: datetime) -> list[str]:
    """How many labels are there that don't count yet, and when they will, in a sentence."""
    if not seen.young:
        return []
    period = seen.period
    last = end_of(min(period.until, end_of(now, FIVE_MINUTES)) + period.delay, FIVE_MINUTES)
    are = "1 label is of a prediction" if seen.young == 1 else f"{seen.young:,} labels are of predictions"
    sentence = f"{are} younger than {_in_words(period.delay)} and not compared yet, the last until {last:%Y-%m-%d %H:%M} UTC"
    why = (
        "so late do labels usually come; `maturity_hours` sets another age"
        if period.is_usual
        else "the `maturity_hours` of this order are that age"
    )
    return [f"{sentence}: {why}."]


def _in_words(delay: timedelta) -> str:
    minutes = delay.total_seconds() / 60
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def say_what_is_capped(compared: Realised) -> list[str]:
    """That some errors are beyond what sums hold, in a sentence.

    >>> say_what_is_capped(Realised())
    []
    """
    capped = compared.errors.clipped if compared.errors else 0
    if not capped:
        return []
    are = (
        "1 label is so far off that it was"
        if capped == 1
        else f"{capped:,} labels are so far off that they were"
    )
    return [
        f"{are} capped: the true errors are larger than `metrics` says. Correct what is wrong by feedback."
    ]
