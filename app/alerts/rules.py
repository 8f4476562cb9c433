"""When an incident opens, lasts and resolves, and when a delivery is tried again. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

MINUTE, HOUR, DAY = 60, 3600, 86_400
FEWEST_ROWS = 20
"""A share of fewer answers than these says nothing: one bad row in three is no error rate of 33 %."""
SHORTEST_LOOK_SECONDS, LONGEST_LOOK_SECONDS, LOOKS_PER_WINDOW = 15, 900, 5
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, MOST_ATTEMPTS = 5.0, 1800.0, 14


class Severity(StrEnum):
    """How much an incident matters."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Comparison(StrEnum):
    """On which side of its threshold a signal is unwell; the threshold itself is well."""

    ABOVE = "above"
    BELOW = "below"


class Signal(StrEnum):
    """What a rule looks at: a value of each model that is read on the clock, or facts as they happen."""

    ACCURACY_DROP = "accuracy_drop"
    ESTIMATED_LOSS = "estimated_loss"
    DRIFT = "drift"
    LATENCY_MS = "latency_ms"
    ERROR_RATE = "error_rate"
    QUALITY_SCORE = "quality_score"
    REGIME_CHANGES = "regime_changes"
    PIPELINE_FAILURES = "pipeline_failures"
    TRAINING_FAILURE = "training_failure"
    DEPLOYMENT_FAILURE = "deployment_failure"


HIGHEST: Mapping[Signal, float] = {
    Signal.DRIFT: 1.0,
    Signal.ERROR_RATE: 1.0,
    Signal.QUALITY_SCORE: 1.0,
    Signal.PIPELINE_FAILURES: 1.0,
    Signal.TRAINING_FAILURE: 1.0,
    Signal.DEPLOYMENT_FAILURE: 1.0,
}
"""What a signal can't exceed; the others have no such limit, and none goes below 0."""


MEANINGS: Mapping[Signal, str] = {
    Signal.ACCURACY_DROP: "how far accuracy (of a regression: its error, as a share of the baseline's) is proven to be worse than the "
    "baseline; what is measured is worse still",
    Signal.ESTIMATED_LOSS: "how much worse, as a share of the baseline, the model is proven to be expected to do",
    Signal.DRIFT: "what the drift score is proven to exceed, the lower end of its interval; the score itself is higher",
    Signal.LATENCY_MS: "the milliseconds that one answer in twenty exceeds",
    Signal.ERROR_RATE: "the share of rows that got no prediction",
    Signal.QUALITY_SCORE: "the quality scores of the window's looks, weighted by their rows",
    Signal.REGIME_CHANGES: "how many changes of regime were found",
}
"""What the value of a signal is that is read on the clock; of one that facts tell it is 1 for a failure, 0 for a success."""


class Step(StrEnum):
    """What follows from one look at a signal."""

    WAIT = "wait"
    OPEN = "open"
    UPDATE = "update"
    RESOLVE = "resolve"


@dataclass(frozen=True)
class Policy:
    """What a rule takes for unwell, how often in a row, and how soon after an incident another may open."""

    comparison: Comparison
    threshold: float
    consecutive: int
    cooldown_seconds: int

    def is_breached_by(self, value: float) -> bool:
        """Whether a value is on the wrong side of the threshold.

        Raises:
            ValueError: the value is not a number.
        """
        if math.isnan(value):
            raise ValueError("a signal that is not a number is neither well nor unwell")
        if self.comparison is Comparison.ABOVE:
            return value > self.threshold
        return value < self.threshold

    def worse_of(self, one: float, other: float) -> float:
        """The value that is further on the wrong side."""
        return max(one, other) if self.comparison is Comparison.ABOVE else min(one, other)


@dataclass(frozen=True)
class Standing:
    """How one subject stands under one rule."""

    breaches: int = 0
    wells: int = 0
    is_open: bool = False
    resolved_at: datetime | None = None


def judge(standing: Standing, policy: Policy, value: float, at: datetime) -> tuple[Standing, Step]:
    """What one more value of a signal makes of a standing.

    Raises:
        ValueError: the value is not a number.

    >>> at = datetime(2025, 3, 1)
    >>> judge(Standing(), Policy(Comparison.ABOVE, 0.1, 1, 0), 0.2, at)[1]
    <Step.OPEN: 'open'>
    """
    if policy.is_breached_by(value):
        return _after_breach(replace(standing, breaches=standing.breaches + 1, wells=0), policy, at)
    return _after_well(replace(standing, breaches=0, wells=standing.wells + 1), policy, at)


def _after_breach(standing: Standing, policy: Policy, at: datetime) -> tuple[Standing, Step]:
    if standing.is_open:
        return standing, Step.UPDATE
    if standing.breaches < policy.consecutive or _is_cooling(standing, policy, at):
        return standing, Step.WAIT
    return replace(standing, is_open=True), Step.OPEN


def _after_well(standing: Standing, policy: Policy, at: datetime) -> tuple[Standing, Step]:
    if not standing.is_open:
        return replace(standing, wells=0), Step.WAIT
    if standing.wells < policy.consecutive:
        return standing, Step.WAIT
    return close(at), Step.RESOLVE


def close(at: datetime) -> Standing:
    """The standing of a subject whose incident has just been resolved, whoever resolved it."""
    return Standing(resolved_at=at)


def _is_cooling(standing: Standing, policy: Policy, at: datetime) -> bool:
    """Whether the last incident was a short while ago; a clock that was put back doesn't keep the next one shut."""
    if standing.resolved_at is None:
        return False
    since = at - standing.resolved_at
    return timedelta() <= since < timedelta(seconds=policy.cooldown_seconds)


def look_seconds(window_seconds: int) -> int:
    """How long after one look at a window the next is worth its cost.

    >>> look_seconds(300), look_seconds(3600), look_seconds(30), look_seconds(86_400)
    (60, 720, 15, 900)
    """
    return min(max(window_seconds // LOOKS_PER_WINDOW, SHORTEST_LOOK_SECONDS), LONGEST_LOOK_SECONDS)


def pause_seconds(attempt: int, chance: float, *, asked_seconds: float = 0) -> float:
    """How long to wait after a failed attempt: doubling, capped, and spread so that failures don't march in step.

    Args:
        attempt: how many have failed, from 1 on.
        chance: a random number from 0 to 1.
        asked_seconds: what the other side asked for (`Retry-After`); kept up to the cap.

    >>> pause_seconds(1, 1.0), pause_seconds(3, 0.0), pause_seconds(60, 1.0), pause_seconds(1, 0.0, asked_seconds=60)
    (5.0, 10.0, 1800.0, 60)
    """
    doubled: float = FIRST_PAUSE_SECONDS * 2 ** min(attempt - 1, 32)
    pause = min(LONGEST_PAUSE_SECONDS, doubled) * (0.5 + chance / 2)
    return max(pause, min(asked_seconds, LONGEST_PAUSE_SECONDS))


@dataclass(frozen=True)
class RuleTerms:
    """A rule as data."""

    signal: Signal
    threshold: float
    severity: Severity
    window_seconds: int
    comparison: Comparison = Comparison.ABOVE
    consecutive: int = 1
    cooldown_seconds: int = 15 * MINUTE
    model: str | None = None
    """The only model that it is about; None means every one."""
    channels: Sequence[str] | None = None
    """Where its incidents are told; None means everywhere."""
    enabled: bool = True

    @property
    def policy(self) -> Policy:
        """What the state machine needs of it."""
        return Policy(self.comparison, self.threshold, self.consecutive, self.cooldown_seconds)

    def concerns(self, model: str | None) -> bool:
        """Whether a model is in its scope."""
        return self.enabled and self.model in (None, model)


def why_never(terms: RuleTerms) -> tuple[str, str] | None:
    """Which field, and why, keeps a rule from opening an incident of what is unwell, or from resolving it; None where nothing does.

    >>> why_never(RuleTerms(Signal.DRIFT, 2.0, Severity.INFO, HOUR))
    ('threshold', 'is 2, but drift lies between 0 and 1')
    >>> why_never(RuleTerms(Signal.LATENCY_MS, 0.0, Severity.INFO, HOUR, Comparison.BELOW))
    ('threshold', 'is 0, and latency_ms is never below that')
    >>> why_never(RuleTerms(Signal.TRAINING_FAILURE, 0.5, Severity.INFO, HOUR, Comparison.BELOW))
    ('comparison', 'is below, but training_failure is 1 for a failure and 0 for a success: unwell above alone')
    """
    highest = HIGHEST.get(terms.signal, math.inf)
    if not 0 <= terms.threshold <= highest:
        span = f"lies between 0 and {highest:g}" if highest < math.inf else "is never below 0"
        return "threshold", f"is {terms.threshold:g}, but {terms.signal} {span}"
    if terms.signal in TOLD_BY_FACTS and terms.comparison is Comparison.BELOW:
        is_one = f"{terms.signal} is 1 for a failure and 0 for a success"
        return "comparison", f"is below, but {is_one}: unwell above alone"
    if terms.threshold == (highest if terms.comparison is Comparison.ABOVE else 0):
        return "threshold", f"is {terms.threshold:g}, and {terms.signal} is never {terms.comparison} that"
    return None


DEFAULTS: Mapping[str, RuleTerms] = {
    "accuracy-drop": RuleTerms(Signal.ACCURACY_DROP, 0.05, Severity.CRITICAL, HOUR),
    "estimated-performance": RuleTerms(Signal.ESTIMATED_LOSS, 0.15, Severity.WARNING, HOUR),
    "latency": RuleTerms(Signal.LATENCY_MS, 1000.0, Severity.WARNING, 5 * MINUTE),
    "drift": RuleTerms(Signal.DRIFT, 0.1, Severity.WARNING, DAY, cooldown_seconds=6 * HOUR),
    "error-rate": RuleTerms(Signal.ERROR_RATE, 0.05, Severity.CRITICAL, 5 * MINUTE, consecutive=2),
    "pipeline-failures": RuleTerms(Signal.PIPELINE_FAILURES, 0.0, Severity.CRITICAL, 7 * DAY, consecutive=2),
    "training-failure": RuleTerms(Signal.TRAINING_FAILURE, 0.0, Severity.WARNING, DAY),
    "deployment-failure": RuleTerms(Signal.DEPLOYMENT_FAILURE, 0.0, Severity.CRITICAL, DAY),
    "quality-score": RuleTerms(Signal.QUALITY_SCORE, 0.8, Severity.WARNING, HOUR, Comparison.BELOW),
    "regime-change": RuleTerms(Signal.REGIME_CHANGES, 0.0, Severity.INFO, HOUR),
}
"""The rules that are there from the start. Those over facts count a failure as 1 and a success as 0."""


@dataclass(frozen=True)
class Told:
    """The facts that speak of a signal: those of failure, and those that show it well again."""

    failures: frozenset[str]
    successes: frozenset[str]

    @property
    def kinds(self) -> list[str]:
        """Both."""
        return sorted(self.failures | self.successes)


TOLD_BY_FACTS: Mapping[Signal, Told] = {
    Signal.DEPLOYMENT_FAILURE: Told(
        frozenset({"DeploymentFailed"}), frozenset({"VersionPromoted", "VersionRolledBack"})
    ),
    Signal.TRAINING_FAILURE: Told(frozenset({"TrainingFailed"}), frozenset({"TrainingSucceeded"})),
    Signal.PIPELINE_FAILURES: Told(frozenset({"PipelineFailed"}), frozenset({"PipelineSucceeded"})),
}
JUDGED = frozenset(kind for told in TOLD_BY_FACTS.values() for kind in told.kinds)
"""The facts that are judged as they happen."""


def subject_of(fact_subject: str, body: Mapping[str, Any]) -> tuple[str, str | None]:
    """What a fact is about, as incidents name it, and its model if it has one.

    >>> subject_of("model:churn:3", {"model": "churn"}), subject_of("pipeline:nightly", {})
    (('model:churn', 'churn'), ('pipeline:nightly', None))
    """
    model = body.get("model")
    if "pipeline" in body:
        return f"pipeline:{body['pipeline']}", model
    return (f"model:{model}", model) if model else (fact_subject, None)


def fingerprint(rule: str, subject: str) -> str:
    """What makes two incidents the same one: at most one of a fingerprint is open."""
    return f"{rule}/{subject}"
