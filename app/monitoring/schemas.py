"""What every check of this room takes and tells, and how models are watched, on the wire."""

from datetime import datetime, timedelta
from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from app.core import clock
from app.core.wire import Incoming, Line, Outgoing
from app.evidence.outcome_sums import FIVE_MINUTES, end_of, start_of
from app.evidence.schemas import Moment

MOST_INSTANCES = 100_000


class WindowOrder(Incoming):
    """Which rows of the log to look at."""

    window_hours: float | None = Field(
        None, gt=0, le=24 * 400, description="The latest hours; the monitor's by default."
    )
    window_rows: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="The latest five minutes that together hold at least so many rows; for performance, labelled rows.",
    )
    since: Moment | None = None
    until: Moment | None = None
    arm: Line | None = Field(None, description="Only the rows that this arm of the route answered.")

    @model_validator(mode="after")
    def _one_window(self) -> Self:
        if [self.window_hours, self.window_rows, self.since].count(None) < 2:
            raise ValueError("give one of `window_hours`, `window_rows` and `since` (with `until`)")
        if self.until is not None and self.since is None and self.window_rows is None:
            raise ValueError("`until` needs `since` or `window_rows`")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("`since` must be before `until`")
        if self.since is not None and self.since >= end_of(clock.now(), FIVE_MINUTES):
            raise ValueError("`since` lies in the future, where no rows are yet")
        return self

    def ends(self, usual_hours: float) -> tuple[datetime, datetime]:
        """Where the window begins and ends; a monitor's usual one where nothing, or a number of rows, is said.

        Rows are counted by five minutes: those that it touches are looked at, whole.
        """
        until = self.until or clock.now()
        since = self.since or until - timedelta(hours=self.window_hours or usual_hours)
        return start_of(since, FIVE_MINUTES), end_of(until, FIVE_MINUTES)


class RowsOrder(WindowOrder):
    """Which rows to look at: those of the log in a window, or those that come along."""

    instances: list[Any] | None = Field(
        None,
        min_length=1,
        max_length=MOST_INSTANCES,
        description="Rows as for predict, to look at instead of the log.",
    )

    @model_validator(mode="after")
    def _log_or_instances(self) -> Self:
        if self.instances is not None and {self.window_hours, self.window_rows, self.since} != {None}:
            raise ValueError(
                "give one of `window_hours`, `window_rows`, `since` (with `until`) and `instances`"
            )
        return self


class ReferenceOut(Outgoing):
    """What they were held against."""

    kind: str = Field(
        description="`sample`: that of the registration; `first_rows`: the first that were logged."
    )
    rows: int
    made_at: datetime


class MonitorOrder(Incoming):
    """How to watch a model; what is left out, or null, stays as it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"enabled": True, "interval_minutes": 15, "window_hours": 24, "drift_threshold": 0.1}
        }
    )

    enabled: bool | None = Field(None, description="True at first.")
    interval_minutes: int | None = Field(
        None, ge=5, le=1440, description="How often, 5 at first; windows consist of five minutes each."
    )
    window_hours: float | None = Field(
        None,
        gt=0,
        le=24 * 90,
        description="Of a check that names no window; `MONITORING_WINDOW_HOURS` at first.",
    )
    drift_threshold: float | None = Field(None, gt=0, lt=1, description="`DRIFT_THRESHOLD` at first.")
    false_alarms: float | None = Field(
        None, gt=0, lt=0.5, description="Over the whole life of the monitor; 0.05 at first."
    )


class MonitorOut(Outgoing):
    """How a model is watched, and how far its monitor has come."""

    model: str
    enabled: bool
    interval_minutes: int
    window_hours: float
    drift_threshold: float
    false_alarms: float
    set_by: str | None
    set_at: datetime | None
