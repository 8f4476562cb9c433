"""Regime monitors on the wire."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, computed_field, model_validator

from app.core import clock
from app.core.wire import Incoming, Line, Outgoing, storable
from app.evidence.schemas import Moment
from app.monitoring.kinds import SeriesKind
from app.monitoring.signals import say_change

MOST_VALUES = 5000
MOST_VALUE = 1e100  # of greater ones the squares are no numbers any more
CLOCK_TOLERANCE = timedelta(minutes=1)
MonitorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class RegimeOrder(Incoming):
    """What to follow, and how rarely to be wrong."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "latency", "kind": "column", "source": "latency_ms"}}
    )

    name: MonitorName
    kind: SeriesKind = Field(
        description="`column`: the mean of a column of the prediction log in each five minutes. `metric`: what monitors "
        "found, look by look. `posted`: what you send."
    )
    source: Line | None = Field(
        None,
        description="Of a column its name (an input, `prediction`, `confidence`, `latency_ms`); of a metric `rows`, "
        "`loss`, `drift_score` or `quality_score`; a posted series has none.",
    )
    environment: Annotated[str, Field(max_length=128), AfterValidator(storable)] = "production"
    mean_run: float = Field(
        10_000,
        ge=100,
        le=1e7,
        description="Values between two false alarms, on average; fewer find changes sooner.",
    )


_A_MONITOR: dict[str, Any] = {
    "name": "latency", "model": "breast-cancer", "kind": "column", "source": "latency_ms", "environment": "production",
    "mean_run": 10000, "values": 4321, "last_at": "2026-11-27T12:00:00Z",
    "regime": {
        "label": "high, turbulent", "level": "high", "volatility": "turbulent", "since": "2026-11-26T21:35:00Z",
        "mean": 4.1, "deviation": 1.9, "values": 173,
    },
    "made_at": "2026-11-12T08:00:00Z", "made_by": "local-admin",
}  # fmt: skip


class RegimeOut(Outgoing):
    """What a series is like now, in the terms of its long run."""

    label: str
    level: str = Field(description="`low`, `usual` or `high`: the median beside that of the long run.")
    volatility: str = Field(description="`calm`, `usual` or `turbulent`: the steps from value to value.")
    since: datetime
    mean: float = Field(
        description="Of the regime's values, without the pull of outliers; so is `deviation`."
    )
    deviation: float
    values: int = Field(description="How many the regime has had; a change is found from 32 on.")


class RegimeMonitorOut(Outgoing):
    """A followed series and its regime."""

    model_config = ConfigDict(json_schema_extra={"example": _A_MONITOR})

    name: str
    model: str
    kind: SeriesKind
    source: str | None
    environment: str
    mean_run: float
    values: int
    last_at: datetime | None
    regime: RegimeOut | None = Field(description="None before the first value.")
    made_at: datetime
    made_by: str

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, monitor: Any) -> Any:
        """A row has the regime's columns beside its own."""
        if isinstance(monitor, dict):
            return monitor
        told = {name: getattr(monitor, name) for name in cls.model_fields if name != "regime"}
        if monitor.since is None:
            return told | {"regime": None}
        names = ("level", "volatility", "since", "mean", "deviation")
        regime = {name: getattr(monitor, name) for name in names} | {"values": monitor.regime_values}
        return told | {"regime": regime | {"label": f"{monitor.level}, {monitor.volatility}"}}


_A_CHANGE: dict[str, Any] = {
    "since": "2026-11-26T21:35:00Z", "found_at": "2026-11-26T22:10:00Z", "delay_values": 7, "level": "high",
    "volatility": "turbulent", "mean": 4.1, "deviation": 1.9, "level_before": "usual", "volatility_before": "usual",
    "mean_before": 1.2, "deviation_before": 0.4,
    "in_words": "mean from 1.2 to 4.1, deviation from 0.4 to 1.9; beside the long run usual, usual before, high, turbulent now",
}  # fmt: skip


class RegimeChangeOut(Outgoing):
    """One change: since when, when it was found, and what changed into what."""

    model_config = ConfigDict(json_schema_extra={"example": _A_CHANGE})

    since: datetime
    found_at: datetime = Field(description="The time of the value that proved it.")
    delay_values: int = Field(description="How many values that took.")
    level: str
    volatility: str
    mean: float
    deviation: float
    level_before: str
    volatility_before: str
    mean_before: float = Field(description="Of the values before `since`; so is `deviation_before`.")
    deviation_before: float

    @computed_field(  # type: ignore[prop-decorator] # so pydantic says
        description="What changed. The labels compare with the long run, so a change may leave them the same."
    )
    @property
    def in_words(self) -> str:
        """The numbers before and after, and the labels."""
        return say_change(self)


def _has_a_square(value: float) -> float:
    if abs(value) > MOST_VALUE:
        raise ValueError(f"must lie between {-MOST_VALUE:g} and {MOST_VALUE:g}")
    return value


class ValueOrder(Incoming):
    """One value of a series."""

    at: Moment
    value: Annotated[float, AfterValidator(_has_a_square)] = Field(
        description=f"From {-MOST_VALUE:g} to {MOST_VALUE:g}."
    )

    @model_validator(mode="after")
    def _has_been(self) -> Self:
        if self.at > clock.now() + CLOCK_TOLERANCE:
            raise ValueError("`at` lies in the future: whatever came before it would be too late")
        return self


class ValuesOrder(Incoming):
    """Values of a series, in any order."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"items": [{"at": "2026-11-27T12:00:00Z", "value": 4.2}]}}
    )

    items: list[ValueOrder] = Field(min_length=1, max_length=MOST_VALUES)


class ValuesOut(Outgoing):
    """What became of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"taken": 1, "repeated": 0, "late": 0, "changes": [], "monitor": _A_MONITOR}
        }
    )

    taken: int
    repeated: int = Field(description="Times that were taken before.")
    late: int = Field(description="Times before the last one that was taken: a series is followed in order.")
    changes: list[RegimeChangeOut] = Field(description="Found in these values.")
    monitor: RegimeMonitorOut
