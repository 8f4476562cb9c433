"""Regime monitors: each follows one series of a model, keeps all that it must remember in its row, and tells of changes.

A value is taken once: whoever follows holds the monitor's row, and only values later than its last one are taken.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor
from app.core.facts import announce
from app.core.ids import new_id
from app.evidence.series import Values
from app.monitoring.errors import RegimeMonitorExists, RegimeMonitorNotFound
from app.monitoring.facts import RegimeChanged, RegimeMonitorMade, RegimeMonitorRemoved
from app.monitoring.kinds import SeriesKind
from app.monitoring.tables import RegimeChange, RegimeMonitor, RegimeValue

if TYPE_CHECKING:
    from app.stats.regimes import Regime, Watch


@dataclass(frozen=True)
class Terms:
    """What a monitor follows, and how rarely it may be wrong."""

    name: str
    kind: SeriesKind
    source: str | None
    environment: str
    mean_run: float


@dataclass
class Taken:
    """What became of some values."""

    taken: int = 0
    repeated: int = 0
    late: int = 0
    changes: list[RegimeChange] = field(default_factory=list)


async def make_monitor(session: AsyncSession, model_id: UUID, model: str, terms: Terms) -> RegimeMonitor:
    """Have a series followed from now on.

    Raises:
        RegimeMonitorExists: the model has one of this name.
    """
    actor: Actor = session.info["actor"]
    row = {
        "id": new_id(), "model_id": model_id, "model": model, **vars(terms),
        "values": 0, "made_at": clock.now(), "made_by": actor.name,
    }  # fmt: skip
    made = insert(RegimeMonitor).values(row).on_conflict_do_nothing().returning(RegimeMonitor.id)
    if await session.scalar(made) is None:
        raise RegimeMonitorExists(model, terms.name)
    announce(session, RegimeMonitorMade(model, terms.name, terms.kind, terms.source))
    return await get_monitor(session, model_id, model, terms.name)


async def get_monitor(
    session: AsyncSession, model_id: UUID, model: str, name: str, *, locked: bool = False
) -> RegimeMonitor:
    """A model's monitor of this name.

    Raises:
        RegimeMonitorNotFound: it has none.
    """
    query = select(RegimeMonitor).where(RegimeMonitor.model_id == model_id, RegimeMonitor.name == name)
    found = (await session.scalars(query.with_for_update() if locked else query)).one_or_none()
    if found is None:
        raise RegimeMonitorNotFound(model, name)
    return found


async def remove_monitor(session: AsyncSession, model_id: UUID, model: str, name: str) -> None:
    """Stop following a series, and forget what was seen of it.

    Raises:
        RegimeMonitorNotFound: there is none of this name.
    """
    await session.delete(await get_monitor(session, model_id, model, name, locked=True))
    announce(session, RegimeMonitorRemoved(model, name))


def select_monitors(model_id: UUID, after: str | None, limit: int) -> Select[RegimeMonitor]:
    """A model's monitors by name."""
    query = select(RegimeMonitor).where(RegimeMonitor.model_id == model_id).order_by(RegimeMonitor.name)
    return (query if after is None else query.where(RegimeMonitor.name > after)).limit(limit + 1)


def select_changes(monitor_id: UUID, before: str | None, limit: int) -> Select[RegimeChange]:
    """The changes that a monitor found, the latest first."""
    query = select(RegimeChange).where(RegimeChange.monitor_id == monitor_id).order_by(RegimeChange.id.desc())
    return (query if before is None else query.where(RegimeChange.id < UUID(before))).limit(limit + 1)


async def take_values(session: AsyncSession, monitor: RegimeMonitor, values: Values) -> Taken:
    """Follow a series on, over those values that are later than its last one; whoever calls holds the monitor's row."""
    fresh = sorted(
        {at: value for at, value in values if monitor.last_at is None or at > monitor.last_at}.items()
    )
    told = Taken(len(fresh))
    stale = [at for at, _ in values if monitor.last_at is not None and at <= monitor.last_at]
    told.repeated = len(values) - len(fresh) - len(stale)
    if stale:
        known = set(await session.scalars(_select_values(monitor.id, stale)))
        told.late = sum(at not in known for at in stale)
        told.repeated += len(stale) - told.late
    if fresh:
        await _follow(session, monitor, fresh, told)
    return told


def _select_values(monitor_id: UUID, times: Sequence[datetime]) -> Select[datetime]:
    return select(RegimeValue.at).where(RegimeValue.monitor_id == monitor_id, RegimeValue.at.in_(times))


async def _follow(session: AsyncSession, monitor: RegimeMonitor, values: Values, told: Taken) -> None:
    first = monitor.values
    stored = [
        {"monitor_id": monitor.id, "place": first + i, "at": at, "value": value}
        for i, (at, value) in enumerate(values)
    ]
    await session.execute(insert(RegimeValue), stored)
    turns, regime, state = await asyncio.to_thread(_step, monitor.state, monitor.mean_run, values)
    for turn in turns:
        told.changes.append(await _keep_change(session, monitor, turn, first, values))
    monitor.state, monitor.values, monitor.last_at = state, first + len(values), values[-1][0]
    if regime is None:
        return
    if monitor.since is None or turns:
        monitor.since = await _time_of(session, monitor.id, regime.since)
    monitor.level, monitor.volatility = regime.level.value, regime.volatility.value
    monitor.mean, monitor.deviation, monitor.regime_values = regime.mean, regime.deviation, regime.values


@dataclass(frozen=True)
class _Turn:
    """A change: at which of the new values it was found, and the regimes before and after."""

    found: int
    before: "Regime"
    after: "Regime"


def _step(
    stored: dict[str, Any] | None, mean_run: float, values: Values
) -> tuple[list[_Turn], "Regime | None", dict[str, Any]]:
    """Follow values from a stored state: the changes, the regime at the end, the state to store."""
    from app.stats import regimes  # noqa: PLC0415 - and SciPy with it, which no start waits for

    watch = regimes.Watch(mean_run=mean_run) if stored is None else regimes.Watch.from_json(stored)
    turns = []
    for i, (_, value) in enumerate(values):
        before, watch = watch, regimes.follow(watch, value)
        if watch.changes > before.changes:
            former = regimes.ended(before, watch.since)
            turns.append(_Turn(i, regimes.describe(former), regimes.describe(watch)))
    return turns, _described(watch), watch.as_json()


def _described(watch: "Watch") -> "Regime | None":
    from app.stats import regimes  # noqa: PLC0415 - as above

    return regimes.describe(watch) if watch.regime.values else None


async def _keep_change(
    session: AsyncSession, monitor: RegimeMonitor, turn: _Turn, first: int, values: Values
) -> RegimeChange:
    after, before = turn.after, turn.before
    change = RegimeChange(
        id=new_id(), monitor_id=monitor.id, since=await _time_of(session, monitor.id, after.since),
        found_at=values[turn.found][0], delay_values=first + turn.found - after.since,
        level=after.level.value, volatility=after.volatility.value, mean=after.mean, deviation=after.deviation,
        level_before=before.level.value, volatility_before=before.volatility.value,
        mean_before=before.mean, deviation_before=before.deviation, told_at=clock.now(),
    )  # fmt: skip
    session.add(change)
    await session.flush()
    announce(
        session,
        RegimeChanged(
            monitor.model, monitor.name, str(change.id), change.since.isoformat(),
            change.level, change.volatility, change.mean_before, change.mean,
            change.deviation_before, change.deviation,
        ),
    )  # fmt: skip
    return change


async def _time_of(session: AsyncSession, monitor_id: UUID, place: int) -> datetime:
    """When the value at a place came; of one that is not kept any more, when the earliest kept one did."""
    query = select(RegimeValue.at).where(RegimeValue.monitor_id == monitor_id, RegimeValue.place >= place)
    at: datetime = (await session.execute(query.order_by(RegimeValue.place).limit(1))).scalar_one()
    return at
