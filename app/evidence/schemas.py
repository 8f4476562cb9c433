"""The evidence on the wire."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field

from app.core.wire import Incoming, Outgoing

MAX_ITEMS = 100_000


def _in_utc(moment: datetime) -> datetime:
    """The same moment in UTC, as every answer tells it.

    Raises:
        ValueError: it lies at the ends of the calendar.
    """
    if not 2 <= moment.year <= 9998:
        raise ValueError("must lie between the years 2 and 9998")
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class FeedbackItem(Incoming):
    """What turned out to be true of one prediction."""

    prediction_id: UUID
    actual: Any = Field(description="The true class or number.")
    observed_at: Moment | None = Field(None, description="When it was seen; now when absent.")
    value: float | None = Field(None, description="What it was worth, in whatever unit is used throughout.")


class FeedbackEnvelope(Incoming):
    """The items of a call, not looked at yet: one that is wrong is refused alone."""

    items: list[Any] = Field(min_length=1)


FEEDBACK_SCHEMA = {
    "type": "object",
    "required": ["items"],
    "additionalProperties": False,
    "properties": {
        "items": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_ITEMS,
            "items": FeedbackItem.model_json_schema(),
        }
    },
    "example": {"items": [{"prediction_id": "01a1fd46-3f9c-71d3-9878-5c15666f8e2d", "actual": 1}]},
}


class RefusedItem(Outgoing):
    """An item that was not taken, and why."""

    index: int
    prediction_id: str | None
    problem: str


class FeedbackOut(Outgoing):
    """What became of the items; every one of them is counted once."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"accepted": 1, "corrected": 0, "unchanged": 0, "pending": 0, "refused": []}
        }
    )

    accepted: int = Field(description="First answers to predictions that the log has.")
    corrected: int = Field(description="Answers that replaced a different one.")
    unchanged: int = Field(description="Answers that were known already.")
    pending: int = Field(
        description="Answers to predictions that the log does not have yet; they are kept for them."
    )
    refused: list[RefusedItem]


class OutcomeOut(Outgoing):
    """What turned out to be true of a prediction."""

    actual: Any
    value: float | None
    observed_at: datetime
    given_at: datetime
    given_by: str
    corrections: int
    previous: Any


class PredictionOut(Outgoing):
    """One scored row, as it was logged."""

    prediction_id: UUID
    at: datetime
    request_id: str
    model_id: str = Field(description="The version that answered, as `name:number`.")
    environment: str
    revision: int | None = Field(description="The route's; null when the caller named the version.")
    arm: str | None
    propensity: float = Field(description="With which probability the route chose this version.")
    shadow: bool
    log_probability: float = Field(description="With which probability such a request is logged.")
    caller: str
    entity_id: str | None
    latency_ms: float
    features: dict[str, Any] | None
    prediction: Any
    probabilities: list[Any] | None = Field(description="In the order of the signature's classes.")
    confidence: float | None
    error: Any
    outcome: OutcomeOut | None
