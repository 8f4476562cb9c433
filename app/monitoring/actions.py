"""Saying how models are watched."""

from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor
from app.core.facts import announce
from app.monitoring.facts import MonitorSet
from app.monitoring.queries import Watching, said_by
from app.monitoring.tables import Monitor


async def set_monitor(
    session: AsyncSession, model_id: UUID, model: str, watching: Watching, **changes: Any
) -> Watching:
    """Change how a model is watched; what is not among the changes stays as it is, whoever changes it at the same time."""
    actor: Actor = session.info["actor"]
    changes |= {"set_by": actor.name, "set_at": clock.now()}
    first = insert(Monitor).values(model_id=model_id, **(vars(watching) | changes))
    changed = first.on_conflict_do_update(index_elements=[Monitor.model_id], set_=changes)
    fresh = {"populate_existing": True}
    row = (await session.scalars(changed.returning(Monitor), execution_options=fresh)).one()
    announce(session, MonitorSet(model, row.enabled))
    return said_by(row)
