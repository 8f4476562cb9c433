"""Deployments: one change of a model's traffic each, with its steps."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, choice
from app.core.ids import new_id
from app.deployments.rules import Kind, Phase, Strategy


class Deployment(Base):
    """A version on its way to answer a model's traffic in one environment; at most one of them is open."""

    __tablename__ = "deployment"
    __table_args__ = (
        Index(
            "uq_deployment_open",
            "model_id",
            "environment",
            unique=True,
            postgresql_where=text("phase = 'preparing'"),
        ),
        Index("ix_deployment_model", "model_name", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    model_id: Mapped[UUID]
    model_name: Mapped[str]
    environment: Mapped[str]
    version_id: Mapped[UUID]
    version_number: Mapped[int]
    from_version_id: Mapped[UUID | None]
    from_version_number: Mapped[int | None]
    strategy: Mapped[Strategy] = mapped_column(choice(Strategy))
    kind: Mapped[Kind] = mapped_column(choice(Kind))
    phase: Mapped[Phase] = mapped_column(choice(Phase))
    forced: Mapped[bool] = mapped_column(default=False)
    expected_revision: Mapped[int | None]
    revision: Mapped[int | None]
    reason: Mapped[str]
    actor: Mapped[str]
    role: Mapped[str]
    steps: Mapped[list[Any]]
    made_at: Mapped[datetime]
    deadline_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
