"""Alerts on the wire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, JsonValue

from app.alerts.kinds import DeliveryState, Event
from app.alerts.rules import DAY, MINUTE, Comparison, RuleTerms, Severity, Signal
from app.alerts.tables import AlertRule, Delivery, Incident, Silence
from app.core.wire import Incoming, Outgoing, Reason, storable
from app.evidence.schemas import Moment
from app.registry.rules import parse_reference

Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="Small letters, digits and hyphens; at most 63 characters.",
    ),
]


def _name_of_a_model(text: str) -> str:
    name = parse_reference(text).name
    if name != text:
        raise ValueError(
            f"names a version. Rules and silences are about whole models, whichever version answers: write {name!r}"
        )
    return name


ModelName = Annotated[
    str, Field(min_length=1, max_length=128), AfterValidator(storable), AfterValidator(_name_of_a_model)
]
Seconds = Annotated[int, Field(ge=0, le=30 * DAY)]
Window = Annotated[int, Field(ge=MINUTE, le=30 * DAY)]
Consecutive = Annotated[int, Field(ge=1, le=100)]
Channels = Annotated[list[Name], Field(max_length=50)]
A_RULE: dict[str, JsonValue] = {
    "name": "slow-checkout",
    "signal": "latency_ms",
    "model": "breast-cancer",
    "threshold": 250.0,
    "window_seconds": 300,
    "severity": "warning",
}


class Terms(Incoming):
    """What a rule says."""

    model_config = ConfigDict(
        json_schema_extra={"example": {name: value for name, value in A_RULE.items() if name != "name"}}
    )

    signal: Signal = Field(description="What it looks at.")
    threshold: float = Field(
        description="The last value that is still well; within what the signal can be (shares and scores: 0 to 1)."
    )
    severity: Severity
    window_seconds: Window = Field(description="Over how long the signal is taken.")
    comparison: Comparison = Field(
        Comparison.ABOVE,
        description="On which side of the threshold it is unwell; failures of pipelines, trainings and deployments are so above "
        "it alone.",
    )
    consecutive: Consecutive = Field(
        1,
        description="How many looks or facts in a row must be unwell to open, and well to resolve, an incident.",
    )
    cooldown_seconds: Seconds = Field(
        15 * MINUTE, description="How long after an incident of a subject no other of it opens."
    )
    model: ModelName | None = Field(None, description="The only model that it is about; null: every one.")
    channels: Channels | None = Field(
        None, description="Where its incidents are told; null: everywhere; empty: nowhere."
    )
    enabled: bool = True

    def terms(self) -> RuleTerms:
        """The rule as data."""
        return RuleTerms(**{name: getattr(self, name) for name in Terms.model_fields})


class RuleOrder(Terms):
    """A rule that shall hold."""

    model_config = ConfigDict(json_schema_extra={"example": A_RULE})

    name: Name


class RuleChange(Incoming):
    """What shall be different about a rule; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"example": {"threshold": 400.0, "consecutive": 2}})

    signal: Signal | None = None
    threshold: float | None = None
    severity: Severity | None = None
    window_seconds: Window | None = None
    comparison: Comparison | None = None
    consecutive: Consecutive | None = None
    cooldown_seconds: Seconds | None = None
    model: ModelName | None = Field(None, description="Null: every model.")
    channels: Channels | None = Field(None, description="Null: every channel.")
    enabled: bool | None = None

    def given(self) -> dict[str, Any]:
        """What was said; null means something only where a rule can have it."""
        said = {name: getattr(self, name) for name in self.model_fields_set}
        return {name: v for name, v in said.items() if v is not None or name in {"model", "channels"}}


class RuleOut(Outgoing):
    """A rule."""

    name: str
    signal: Signal
    model: str | None
    comparison: Comparison
    threshold: float
    window_seconds: int
    severity: Severity
    consecutive: int
    cooldown_seconds: int
    channels: list[str] | None
    enabled: bool
    has_default: bool = Field(description="Whether it is one of those from the start, which can be reset.")
    changed_at: datetime
    changed_by: str
    looked_at: datetime | None
    warnings: list[str] = Field(
        description="What in it comes to nothing for now: an unknown model, no channel."
    )

    @classmethod
    def of(cls, row: AlertRule, defaults: frozenset[str], warnings: Sequence[str]) -> Self:
        """A rule's row as an answer."""
        more = {"has_default": row.name in defaults, "warnings": [*warnings]}
        return cls(**{name: getattr(row, name) for name in cls.model_fields if name not in more}, **more)


class Note(Incoming):
    """What to remember of it."""

    model_config = ConfigDict(json_schema_extra={"example": {"note": "the new index is being built"}})

    note: Reason = ""


class IncidentOut(Outgoing):
    """Something that is or was unwell."""

    id: UUID
    fingerprint: str = Field(description="At most one incident of a fingerprint is open.")
    rule: str
    signal: str
    severity: Severity
    subject: str
    model: str | None
    state: Literal["open", "acknowledged", "resolved"]
    comparison: Comparison
    threshold: float
    value: float = Field(description="When it was last seen.")
    worst: float
    evidence: dict[str, JsonValue]
    looks: int = Field(description="How often it was seen unwell since it opened.")
    opened_at: datetime
    updated_at: datetime
    told_at: datetime | None = Field(description="When its opening was given out; null while it is silenced.")
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    acknowledge_note: str | None
    resolved_at: datetime | None
    resolved_by: str | None = Field(description="Null when it resolved by itself.")
    resolve_note: str | None

    @classmethod
    def of(cls, row: Incident, **more: Any) -> Self:
        """An incident's row as an answer."""
        acknowledged = "acknowledged" if row.acknowledged_at else "open"
        same = {name: getattr(row, name) for name in IncidentOut.model_fields if name != "state"}
        return cls(**same, state="resolved" if row.resolved_at else acknowledged, **more)


class DeliveryOut(Outgoing):
    """One message to one channel."""

    id: UUID = Field(description="The message's own id, the same however often it is sent (`webhook-id`).")
    incident_id: UUID | None = Field(description="Null for the message of a test.")
    channel: str
    event: Event
    state: DeliveryState
    attempts: int
    last_error: str | None = Field(description="Why the last attempt failed.")
    tried_at: datetime | None
    next_at: datetime | None = Field(description="When it is tried again.")
    made_at: datetime
    settled_at: datetime | None

    @classmethod
    def of(cls, row: Delivery) -> Self:
        """A delivery's row as an answer."""
        return cls.model_validate(row)


class WholeIncidentOut(IncidentOut):
    """An incident and what was told of it."""

    deliveries: list[DeliveryOut]


class SilenceOrder(Incoming):
    """What shall not be told, and until when."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "rule": "latency",
                "model": "breast-cancer",
                "until": "2035-03-01T12:00:00Z",
                "reason": "load test",
            }
        }
    )

    rule: Name | None = Field(None, description="Null: every rule.")
    model: ModelName | None = Field(None, description="Null: every model.")
    until: Moment
    reason: Reason = ""


class SilenceOut(Outgoing):
    """Incidents that are not told until then."""

    id: UUID
    rule: str | None
    model: str | None
    until: datetime
    reason: str
    made_at: datetime
    made_by: str
    warnings: list[str] = Field(description="What in it comes to nothing for now: an unknown model.")

    @classmethod
    def of(cls, row: Silence, warnings: Sequence[str]) -> Self:
        """A silence's row as an answer."""
        same = {name: getattr(row, name) for name in cls.model_fields if name != "warnings"}
        return cls(**same, warnings=[*warnings])
