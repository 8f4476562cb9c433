"""Incidents that were resolved long ago, and what was sent about them, are forgotten; the audit trail keeps the facts."""

from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.kinds import DeliveryState
from app.alerts.tables import Delivery, Incident, Silence
from app.core import clock
from app.core.jobs import WORKER, Claim

KEEP_INCIDENTS = "keep_incidents"
RESOLVED = timedelta(days=400)
SETTLED = timedelta(days=90)
"""How long a delivery is kept that arrived or was given up; an incident takes its own with it."""


async def keep_incidents(claim: Claim) -> None:
    """The job: forget what is old; done again, there is nothing to do."""
    async with claim.database.writes(WORKER) as session:
        await forget_old_incidents(session)


async def forget_old_incidents(session: AsyncSession) -> None:
    """Delete incidents, deliveries and silences that ended long ago; what is open stays, however old."""
    now = clock.now()
    await session.execute(delete(Incident).where(Incident.resolved_at < now - RESOLVED))
    settled = Delivery.state != DeliveryState.QUEUED
    await session.execute(delete(Delivery).where(settled, Delivery.settled_at < now - SETTLED))
    await session.execute(delete(Silence).where(Silence.until < now - RESOLVED))
