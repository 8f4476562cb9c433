"""Channels on the wire: what may be told of them, and their secrets once."""

from datetime import datetime

from pydantic import ConfigDict, Field

from app.alerts.kinds import ChannelKind
from app.alerts.schemas import Name
from app.core.wire import Incoming, Line, Outgoing


class ChannelOrder(Incoming):
    """A way to tell of incidents."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"name": "on-call", "kind": "webhook", "url": "https://hooks.example.org/alerts"}
        }
    )

    name: Name
    kind: ChannelKind
    url: Line | None = Field(
        None,
        description="Where to: of a webhook, of Slack, of apprise (its own kind of address), of another PagerDuty.",
    )
    routing_key: Line | None = Field(None, description="The integration key of a PagerDuty service.")
    to: list[Line] | None = Field(None, max_length=50, description="Addresses of e-mail.")


class ChannelOut(Outgoing):
    """A channel, without its address and secrets."""

    name: str
    kind: ChannelKind
    shown: str = Field(description="As much of its address as is no secret.")
    from_environment: bool
    made_at: datetime
    made_by: str


class NewChannelOut(ChannelOut):
    """A channel just made."""

    secret: str | None = Field(
        None,
        description=(
            "What a webhook's messages are signed with: shown once, so null when a repeated `Idempotency-Key` asks again, "
            "and for other kinds."
        ),
    )


class RotationOrder(Incoming):
    """How long earlier secrets go on signing."""

    model_config = ConfigDict(json_schema_extra={"example": {"grace_hours": 24}})

    grace_hours: float = Field(
        24,
        ge=0,
        le=24 * 30,
        description="For how long messages are signed with the earlier secret as well; 0 ends it, and all before it, at once.",
    )


class RotatedOut(NewChannelOut):
    """A webhook with another secret."""

    earlier_until: datetime = Field(
        description="Until when its messages are signed with the earlier one as well."
    )
