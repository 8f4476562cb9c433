"""Saying how models are watched."""

from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor
from app.core.facts import announce
from app.monitoring.facts import MonitorSet
from app.monitoring.tables import Monitor


async def set_monitor(session: AsyncSession, model_id: UUID, model: str, **settings: Any) -> None:
    """Say how a model is watched."""
    actor: Actor = session.info["actor"]
    values = settings | {"set_by": actor.name, "set_at": clock.now()}
    await session.execute(
        insert(Monitor)
        .values(model_id=model_id, **values)
        .on_conflict_do_update(index_elements=[Monitor.model_id], set_=values)
    )
    announce(session, MonitorSet(model, settings["enabled"]))
