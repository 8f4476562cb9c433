"""What a monitor named when it found something: the features to look at first, for whoever is told of the incident."""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.rules import Signal
from app.core.facts import FactRow

NAMED_BY = {Signal.ACCURACY_DROP: "PerformanceDropped", Signal.DRIFT: "DriftDetected"}
LATELY = timedelta(days=1)
"""What was found longer ago is not what the signal shows now."""


async def list_named(session: AsyncSession, signal: str, model: str, *, at: datetime) -> list[str]:
    """The features that the latest such find about a model named; none of a signal that no monitor finds the causes of."""
    kind = NAMED_BY.get(Signal(signal))
    if kind is None:
        return []
    query = (
        select(FactRow.body)
        .where(FactRow.kind == kind, FactRow.sequence.is_not(None), FactRow.at > at - LATELY)
        .where(FactRow.subject.startswith(f"model:{model}:", autoescape=True))
        .order_by(FactRow.sequence.desc())
        .limit(1)
    )
    body = await session.scalar(query)
    return [] if body is None else list(body.get("features", ()))
