"""Routes on the wire."""

from datetime import datetime
from uuid import UUID

from pydantic import ConfigDict, Field

from app.core.wire import Incoming, Line, Outgoing, Reason


class ArmOrder(Incoming):
    """A version's share of the traffic."""

    name: Line = Field(min_length=1)
    model_id: Line = Field(description="The version, by any reference that names one.")
    weight: float = Field(description="Its share, from 0 to 1; all shares add up to 1.")


class ShadowOrder(Incoming):
    """A version that scores requests unseen."""

    model_id: Line
    share: float = Field(1.0, description="The share of requests that it gets, above 0 and up to 1.")


class RouteOrder(Incoming):
    """Who shall answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "arms": [
                    {"name": "champion", "model_id": "breast-cancer:1", "weight": 0.95},
                    {"name": "challenger", "model_id": "breast-cancer:2", "weight": 0.05},
                ],
                "reason": "a first look at version 2",
            }
        }
    )

    arms: list[ArmOrder] = Field(min_length=1, max_length=20)
    shadows: list[ShadowOrder] = Field(default_factory=list, max_length=5)
    environment: Line = "production"
    reason: Reason = ""
    force: bool = Field(
        False, description="Let a version answer whose gate is closed; needs the role admin and a reason."
    )


class ArmOut(Outgoing):
    """A version's share of the traffic."""

    name: str
    model_id: str
    version_id: UUID
    weight: float


class ShadowOut(Outgoing):
    """A version that scores requests unseen."""

    model_id: str
    version_id: UUID
    share: float


class RevisionOut(Outgoing):
    """A route as of one revision."""

    model: str
    environment: str
    revision: int
    arms: list[ArmOut]
    shadows: list[ShadowOut]
    kind: str
    reason: str
    actor: str
    at: datetime
