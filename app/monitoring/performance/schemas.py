"""Performance on the wire."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field

from app.core.wire import Line, Outgoing, Value
from app.monitoring.kinds import BaselineKind, PerformanceFinding, Recommendation
from app.monitoring.performance.close_up_schemas import (
    CausesOut,
    EstimatedOut,
    FairnessOut,
    IntervalOut,
    MetricOut,
    ReturnsOut,
    SlicesOut,
    WorthOut,
)
from app.monitoring.performance.rules import LESS_IS_BETTER, SPOKESMEN
from app.monitoring.schemas import WindowOrder
from app.runtimes.schema import Task

METRICS = sorted(LESS_IS_BETTER.union(*SPOKESMEN.values()))


def _is_metric(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"must be one of {', '.join(METRICS)}")
    return name


class PerformanceCheck(WindowOrder):
    """Which rows to look at, and what else to tell of them."""

    model_config = ConfigDict(json_schema_extra={"example": {"window_hours": 24}})

    shadow: bool = Field(
        False, description="The rows that the version answered as a shadow, instead of the others."
    )
    maturity_hours: float | None = Field(
        None,
        ge=0,
        le=24 * 400,
        description="Younger predictions are not compared; by default the delay within which nine labels of ten come.",
    )
    metric: Annotated[Line, AfterValidator(_is_metric)] | None = Field(
        None,
        description="Which metric is judged; by default the first that the baseline has for the model's task.",
    )
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="The relative loss that is too much; `PERFORMANCE_THRESHOLD` by default.",
    )
    false_alarm_rate: float = Field(0.05, gt=0, lt=0.5, description="How often each interval may miss.")

    slice_by: Line | None = Field(
        None, description="A column: tell the metrics of each group of it, of numbers four of equal size."
    )
    sensitive: Line | None = Field(
        None, description="A column that names groups of people: tell how differently they are answered."
    )
    favourable: Value | None = Field(None, description="The class that people want; the last one by default.")
    value: Line | None = Field(
        None,
        description="What an answer was worth, by a formula over `prediction`, `actual`, `value` and `confidence`.",
        examples=["10 if prediction == actual else -50"],
    )
    returns: bool = Field(
        False,
        description="Each outcome's `value` is the return of one period, in the order of `observed_at`: tell Sharpe ratio, "
        "drawdown and win rate.",
    )
    periods_per_year: float = Field(1, gt=0, le=1e8, description="Of returns: 252 for trading days.")
    causes: bool | None = Field(
        None,
        description="Which inputs account for the change since earlier labelled rows; by default where performance fell.",
    )
    estimate: bool = Field(
        True, description="Whether to estimate what the labels that are missing will show."
    )


class ClassOut(Outgoing):
    """One class of a classifier."""

    label: str
    metrics: dict[str, MetricOut]


class ConfusionOut(Outgoing):
    """How often each label came true (lines) where each was answered (columns)."""

    labels: list[str]
    counts: list[list[int]]


class PerformanceWindow(Outgoing):
    """Which rows were looked at, and how many of them are labelled."""

    since: datetime
    until: datetime
    rows: int
    labelled: int
    label_coverage: float | None = Field(description="Labelled rows over all; null without rows.")
    usual_delay_seconds: float = Field(
        description="Within so many seconds nine labels of ten come, to a factor of two; `maturity_hours` where the order "
        "gives it."
    )
    compared_until: datetime = Field(description="Only rows before this are old enough to be compared.")
    compared_rows: int
    compared_labelled: int


class PerformanceBaselineOut(Outgoing):
    """What the window was held against."""

    kind: BaselineKind = Field(
        description="`evaluation`: the held-out rows of the registration; `stated`: the metrics given there; "
        "`first_labels`: the version's own first labels."
    )
    labelled: int
    made_at: datetime
    metrics: dict[str, MetricOut]


_A_METRIC = {"value": 0.78, "low": 0.75, "high": 0.81, "rows": 812}
_A_BASELINE = {"value": 0.95, "low": 0.91, "high": 0.97, "rows": 143}
_A_PERFORMANCE: dict[str, Any] = {
    "check_id": "01a1fd46-3f9c-71d3-9878-5c15666f8e2d",
    "model_id": "breast-cancer:3",
    "environment": "production",
    "task": "classification",
    "window": {
        "since": "2026-11-26T12:00:00Z", "until": "2026-11-27T12:00:00Z", "rows": 4210, "labelled": 812,
        "label_coverage": 0.193, "usual_delay_seconds": 4096.0, "compared_until": "2026-11-27T10:50:00Z",
        "compared_rows": 4020, "compared_labelled": 812,
    },
    "insufficient_data": False,
    "labels_needed": 0,
    "finding": "fallen",
    "metric": "accuracy",
    "loss": {"value": 0.179, "low": 0.16, "high": 0.21},
    "threshold": 0.15,
    "false_alarm_rate": 0.05,
    "design_effect": 1.4,
    "effective_labels": 580,
    "metrics": {"accuracy": _A_METRIC},
    "per_class": [{"label": "1", "metrics": {"precision": _A_METRIC}}],
    "confusion": {"labels": ["0", "1"], "counts": [[300, 80], [99, 333]]},
    "baseline": {
        "kind": "evaluation", "labelled": 143, "made_at": "2026-11-01T08:00:00Z", "metrics": {"accuracy": _A_BASELINE},
    },
    "recommendation": "RETRAIN_IMMEDIATELY",
    "recommendations": ["accuracy is 0.78, where the baseline has 0.95: a loss of 17.9%, proven to be at least 16.0%."],
}  # fmt: skip


class PerformanceOut(Outgoing):
    """How a version does by the labels that have come, beside its baseline, and what to do."""

    model_config = ConfigDict(json_schema_extra={"example": _A_PERFORMANCE})

    check_id: UUID
    model_id: str
    environment: str
    task: Task
    window: PerformanceWindow
    insufficient_data: bool = Field(description="Whether there are too few labels to tell the judged metric.")
    labels_needed: int | None = Field(
        description="About how many more labels would tell; null if that can't be said."
    )
    finding: PerformanceFinding
    metric: str | None
    loss: IntervalOut | None = Field(
        description="How much worse, relative to the baseline; negative where it is better."
    )
    threshold: float
    false_alarm_rate: float
    design_effect: float | None = Field(
        description="How many labelled rows count for one, because errors come in bursts; null where too few labels are there "
        "to say, and each was taken to count."
    )
    effective_labels: int = Field(
        description="As how many independent labels the compared ones count; the intervals rest on these."
    )
    metrics: dict[str, MetricOut]
    per_class: list[ClassOut]
    confusion: ConfusionOut | None
    baseline: PerformanceBaselineOut | None
    estimated: EstimatedOut | None = None
    slices: SlicesOut | None = None
    fairness: FairnessOut | None = None
    value: WorthOut | None = None
    returns: ReturnsOut | None = None
    causes: CausesOut | None = None
    recommendation: Recommendation
    recommendations: list[str]


class EstimatedPoint(Outgoing):
    """What was estimated while labels were missing: the mean over these rows, between the farthest ends of its intervals."""

    metric: str
    value: float
    low: float
    high: float
    rows: int


class PerformancePoint(Outgoing):
    """One version in one hour or day."""

    at: datetime
    version: int
    rows: int
    labelled: int
    label_coverage: float | None
    insufficient_data: bool
    design_effect: float | None = Field(
        description="How many labelled rows count for one, by what the version's monitor has learnt by now."
    )
    metrics: dict[str, MetricOut]
    estimated: EstimatedPoint | None = Field(
        None, description="Where labels were missing: to it concept drift is invisible."
    )


_A_POINT: dict[str, Any] = {
    "at": "2026-11-26T00:00:00Z", "version": 3, "rows": 4210, "labelled": 812, "label_coverage": 0.193,
    "insufficient_data": False, "design_effect": 1.4, "metrics": {"accuracy": _A_METRIC},
    "estimated": {"metric": "accuracy", "value": 0.8, "low": 0.76, "high": 0.84, "rows": 900},
}  # fmt: skip


class PerformanceHistory(Outgoing):
    """Performance over time, by when the predictions were made."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "breast-cancer",
                "environment": "production",
                "granularity": "day",
                "items": [_A_POINT],
            }
        }
    )

    model: str
    environment: str
    granularity: str
    items: list[PerformancePoint]
