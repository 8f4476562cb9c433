"""Drift on the wire."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from app.core.wire import Line, Outgoing
from app.monitoring.kinds import Finding, HeldAgainst, Recommendation, Season
from app.monitoring.schemas import ReferenceOut, RowsOrder

OF_FALSE_ALARMS = "Of this check, over all columns together."
OF_THRESHOLD = "The drift score that matters; the monitor's by default."


class DriftCheck(RowsOrder):
    """Which rows to look at, and how strictly."""

    model_config = ConfigDict(json_schema_extra={"example": {"window_hours": 24}})

    false_alarm_rate: float = Field(0.05, gt=0, lt=0.5, description=OF_FALSE_ALARMS)
    threshold: float | None = Field(None, gt=0, lt=1, description=OF_THRESHOLD)
    slice_by: Line | None = Field(
        None,
        description="A column: look for drift within each of its groups as well, of numbers four of equal size. Reads the "
        "latest 20,000 rows of the window, and the version's reference sample.",
    )

    @model_validator(mode="after")
    def _slices_of_the_log(self) -> Self:
        if self.slice_by is not None and self.instances is not None:
            raise ValueError("`slice_by` looks at the log; leave out `instances`")
        return self


class GroupOut(Outgoing):
    """One group of a column: the numbers in (low, high], or one label."""

    label: str | None = Field(
        None,
        description="Null for numbers, for the labels that are told as one, and where the column is masked from the caller.",
    )
    low: float | None = Field(None, description="Null at an open end, for labels, and where masked.")
    high: float | None = None
    reference: float = Field(description="The share of the reference's values.")
    window: float = Field(description="The share of the window's values.")


class FeatureDrift(Outgoing):
    """One column of the window beside the reference."""

    feature: str
    source: str = Field(description="input, text_length, text_tokens, text_words, prediction or confidence.")
    drifted: bool
    p_value: float = Field(description="The chance of any such difference, had nothing changed.")
    question: str = Field(description="Which test shows it most.")
    p_values: dict[str, float]
    distance: float = Field(
        description="Jensen-Shannon distance, less what sampling alone adds: on the reference's deciles, or on its fifteen "
        "most frequent labels and the rest as one."
    )
    low: float
    high: float
    psi: float = Field(description="Population stability index on the reference's deciles.")
    shift: float | None = Field(
        description="Difference of the means in standard deviations of the reference; a value of more than 1,000 of these from "
        "its mean counts as that far."
    )
    spread: float | None = Field(
        description="Ratio of the standard deviations, of values capped as for `shift`."
    )
    wasserstein: float | None = Field(
        description="In standard deviations, from the bins: each value stands at the upper edge of its own, those beyond the last "
        "edge at that one. Good to a few hundredths within the reference's range, rough beyond (up to twice as much), and at most "
        "some four widths of that range: read `shift` there."
    )
    weight: float = Field(description="Importance beside the most important column.")
    design_effect: float = Field(
        description="How many rows count for one, because they depend on each other; at least 1."
    )
    groups: list[GroupOut] = Field(
        description="For a plot: of numbers between the reference's deciles, as far as these differ; of labels the fifteen "
        "most frequent of the reference, and all others as one. Groups without rows are left out."
    )


class WindowOut(Outgoing):
    """Which rows were looked at."""

    since: datetime | None = Field(
        description="Of the log whole five minutes are looked at: all that the asked-for time touches. Null for rows that came along."
    )
    until: datetime | None
    rows: int
    buckets: int | None = Field(description="How many of the five minutes hold rows.")
    rows_refused: int | None = Field(
        None,
        description="Of rows that came along how many do not fit the model. Null for the log: `quality-check` tells its refusals.",
    )


class DriftReferenceOut(ReferenceOut):
    """What they were held against, and how much is known of it."""

    in_time: bool = Field(
        description="Whether its rows are known to be in the order of time: only then they can show that they are "
        "independent of each other."
    )
    season: Season | None = Field(
        description="Whose hours of the week the window was held against; null for rows that came along."
    )


_A_COLUMN: dict[str, Any] = {
    "feature": "mean radius", "source": "input", "drifted": True, "p_value": 2.1e-09, "question": "location",
    "p_values": {"location": 2.3e-10, "scale": 0.41, "shape": 8.8e-09}, "distance": 0.27, "low": 0.21, "high": 0.34,
    "psi": 0.31, "shift": 0.72, "spread": 1.04, "wasserstein": 0.7, "weight": 1.0, "design_effect": 1.0,
    "groups": [
        {"label": None, "low": None, "high": 13.4, "reference": 0.5, "window": 0.27},
        {"label": None, "low": 13.4, "high": None, "reference": 0.5, "window": 0.73},
    ],
}  # fmt: skip
_A_CHECK: dict[str, Any] = {
    "check_id": "01a1fd46-3f9c-71d3-9878-5c15666f8e2d",
    "model_id": "breast-cancer:3",
    "environment": "production",
    "window": {
        "since": "2026-11-26T12:00:00Z", "until": "2026-11-27T12:00:00Z", "rows": 4210, "buckets": 288, "rows_refused": None,
    },
    "reference": {"kind": "sample", "rows": 400, "made_at": "2026-11-01T08:00:00Z", "in_time": True, "season": "learnt"},
    "drift_detected": True,
    "finding": "drift",
    "drift_score": 0.27,
    "drift_score_interval": [0.21, 0.34],
    "threshold": 0.1,
    "false_alarm_rate": 0.05,
    "effective_rows": 4210,
    "rows_needed": 0,
    "feature_drifts": [_A_COLUMN],
    "recommendation": "RETRAIN_IMMEDIATELY",
    "recommendations": ["Look first at mean radius."],
    "evidence": {"columns_tested": 33, "columns_drifted": 1, "smallest_p_value": 2.1e-09},
}  # fmt: skip


class DriftSlice(Outgoing):
    """One group of a column, beside the same group of the reference sample."""

    group: str
    rows: int
    reference_rows: int
    finding: Finding
    drift_score: float | None = Field(description="Null for a group that the sample does not have.")
    drift_score_interval: tuple[float, float] | None
    rows_needed: int | None
    features_to_look_at: list[str]


class DriftSlices(Outgoing):
    """Drift within the groups of one column; what the check may spend on false alarms is shared by all of them."""

    column: str
    rows: int = Field(description="The latest rows of the window that were looked at.")
    held_against: HeldAgainst = Field(
        description="`same_hours`: the reference's rows of the hours of the week that these rows are of. `all_hours`: all of them, "
        "because their times are not known; what goes with the hour shows as drift then."
    )
    groups: list[DriftSlice]


class DriftOut(Outgoing):
    """Whether a window is distributed as its reference, by how much not, and what to do."""

    model_config = ConfigDict(json_schema_extra={"example": _A_CHECK})

    check_id: UUID
    model_id: str
    environment: str
    window: WindowOut
    reference: DriftReferenceOut
    drift_detected: bool
    finding: Finding
    drift_score: float | None = Field(description="Null for a window without rows.")
    drift_score_interval: tuple[float, float] | None
    threshold: float
    false_alarm_rate: float
    effective_rows: int = Field(
        description="As how many independent rows the window's count, in the input where they count least."
    )
    rows_needed: int | None = Field(description="About how many more rows are enough to tell.")
    feature_drifts: list[FeatureDrift]
    recommendation: Recommendation
    recommendations: list[str]
    evidence: dict[str, Any]
    slices: DriftSlices | None = Field(None, description="Where `slice_by` asked for them.")


class DriftPoint(Outgoing):
    """The checks of one hour or day."""

    at: datetime
    score: float = Field(description="The highest of them.")
    low: float
    high: float
    rows: int = Field(
        description="Of the check that looked at most rows; windows overlap, so rows are not added up."
    )
    checks: int = Field(
        description="Looks of the monitor, and checks that somebody asked for, at windows with rows."
    )
    drift_detected: bool
    recommendation: Recommendation


class DriftHistory(Outgoing):
    """Drift over time."""

    model: str
    environment: str
    granularity: str
    items: list[DriftPoint]
