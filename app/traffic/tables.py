"""Routes and their revisions."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Identity, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base
from app.core.ids import new_id

APPEND_ONLY = (
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$
    """,
    """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON route_revision
    FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """,
)


class Route(Base):
    """Who answers for a model in an environment: a pointer to the newest revision."""

    __tablename__ = "route"
    __table_args__ = (UniqueConstraint("model_id", "environment"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    model_id: Mapped[UUID] = mapped_column(ForeignKey("model.id"))
    model_name: Mapped[str]
    environment: Mapped[str]
    revision: Mapped[int]
    salt: Mapped[str]
    made_at: Mapped[datetime]


class RouteRevision(Base):
    """One state of a route. Never changed: a rollback appends the earlier state again."""

    __tablename__ = "route_revision"
    __table_args__ = (Index("ix_route_revision_change", "change"),)

    route_id: Mapped[UUID] = mapped_column(ForeignKey("route.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    change: Mapped[int] = mapped_column(Identity())
    """Counts the changes of all routes, so that a replica can ask for what it has not seen."""
    arms: Mapped[list[Any]]
    shadows: Mapped[list[Any]]
    owners: Mapped[list[Any]]
    kind: Mapped[str]
    reason: Mapped[str]
    actor: Mapped[str]
    at: Mapped[datetime]
