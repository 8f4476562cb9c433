"""The latest figures of versions: written with the verdict that they come from, read by whoever shows them.

All replicas read the same rows, so that no two of them contradict each other; and what nobody has looked at for a day is
not told any more, so that none tells what has long ceased to be so. Nor is a version that no route names: what its last look
found is true of nothing that answers now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.monitoring.kinds import Figure
from app.monitoring.tables import LatestFigure
from app.registry.queries import references_of
from app.traffic.queries import select_routed_versions

FRESH = timedelta(days=1)
_KEY = (LatestFigure.version_id, LatestFigure.environment, LatestFigure.figure)


@dataclass(frozen=True)
class Told:
    """One figure of a version, and when it was so."""

    model_version: str
    figure: Figure
    value: float
    at: datetime


async def note_figures(
    session: AsyncSession, version_id: UUID, environment: str, figures: Mapping[Figure, float]
) -> None:
    """Keep what a look at a version gave, in the transaction that keeps its verdict."""
    at = clock.now()
    rows = [
        {"version_id": version_id, "environment": environment, "figure": figure, "value": value, "at": at}
        for figure, value in sorted(figures.items())
    ]
    if not rows:
        return
    first = insert(LatestFigure).values(rows)
    newer = {"value": first.excluded.value, "at": first.excluded.at}
    await session.execute(first.on_conflict_do_update(index_elements=_KEY, set_=newer))


async def list_figures(session: AsyncSession, environment: str = "production") -> Sequence[Told]:
    """What is known of every version that a route of an environment names and that was looked at within the last day."""
    fresh = select(LatestFigure).where(
        LatestFigure.environment == environment,
        LatestFigure.at > clock.now() - FRESH,
        LatestFigure.version_id.in_(select_routed_versions(environment)),
    )
    rows = (await session.scalars(fresh.order_by(*_KEY))).all()
    names = await references_of(session, {row.version_id for row in rows})
    return [
        Told(names[row.version_id], row.figure, row.value, row.at) for row in rows if row.version_id in names
    ]
