"""Deployments on the wire."""

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field

from app.core.wire import Incoming, Line, Outgoing, Reason
from app.deployments.rules import Kind, Phase, Strategy
from app.deployments.tables import Deployment
from app.registry.rules import Reference


class PromoteOrder(Incoming):
    """Where a version shall answer, and why."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "better on last week's labels"}})

    environment: Line = "production"
    reason: Reason = ""
    force: bool = Field(False, description="Pass a closed gate; needs the role admin and a reason.")


class DeployOrder(PromoteOrder):
    """How a version shall come to answer."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"strategy": "direct", "reason": "better on last week's labels"}}
    )

    strategy: Literal["direct"] = "direct"


class RollbackOrder(Incoming):
    """Which version shall answer again."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "error rate up since the release"}})

    environment: Line = "production"
    to: Line | None = Field(None, description="A version that was in production; the one before when absent.")
    reason: Reason = ""


class WithdrawOrder(Incoming):
    """Where a model shall answer no more."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "the product was discontinued"}})

    environment: Line = "production"
    reason: Reason = ""


class AbortOrder(Incoming):
    """Why a deployment is called off."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "the wrong version"}})

    reason: Reason = ""


class DeploymentOut(Outgoing):
    """A deployment with every step that it took."""

    id: UUID
    model: str
    model_id: str
    environment: str
    replaces: str | None
    strategy: Strategy
    kind: Kind
    phase: Phase
    revision: int | None = Field(description="The route revision that it made, once live.")
    reason: str
    actor: str
    role: str
    steps: list[dict[str, Any]]
    made_at: datetime
    deadline_at: datetime
    settled_at: datetime | None
    links: dict[str, str]

    @classmethod
    def of(cls, row: Deployment) -> Self:
        """A deployment's row as an answer."""
        same = {
            name: getattr(row, name) for name in cls.model_fields if hasattr(row, name) and name != "model_id"
        }
        before = row.from_version_number
        return cls(
            **same,
            model=row.model_name,
            model_id=str(Reference(row.model_name, number=row.version_number)),
            replaces=None if before is None else str(Reference(row.model_name, number=before)),
            links={"self": f"/api/deployments/{row.id}", "route": f"/api/models/{row.model_name}/route"},
        )
