"""Clean-up: versions beyond what a model keeps, blobs that nobody uses any more, days older than the log keeps, fine sums.

A dry run deletes the versions in a transaction that it then undoes, so that it reports exactly what would go.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts.store import ArtifactStore
from app.core import clock
from app.core.access import Caller
from app.core.config import Settings
from app.core.database import Actor, Database
from app.core.facts import Fact, announce
from app.core.jobs import enqueue
from app.evidence.actions import keep_log_days
from app.evidence.jobs import ROLL_UP
from app.evidence.outcome_sums import count_five_minutes
from app.evidence.partitions import list_partitions
from app.evidence.rollups import count_due
from app.registry import queries as registry
from app.registry import search
from app.registry.errors import StillNeeded
from app.registry.files import let_nobody_keep_blobs, unused_digests
from app.registry.lifecycle import delete_version
from app.registry.rules import Reference, Stage

SAFETY_MARGIN = timedelta(days=1)
"""An upload stores its blobs first and registers them later: younger ones may be waited for."""
MOST_VERSIONS = 1_000_000
MODELS_AT_ONCE = 200
BLOBS_AT_ONCE = 1000
DELETED_AT_ONCE = 50
"""Registrations wait for so many deletions at most: a second in a slow object store."""
DISPENSABLE = frozenset({Stage.ARCHIVED, Stage.DEPRECATED})


@dataclass(frozen=True)
class CleanedUp(Fact):
    """Versions, blobs and days of the log that nobody needs any more were deleted."""

    versions: list[str]
    blobs: int
    log_days: list[str]


@dataclass(frozen=True)
class Order:
    """What may go.

    Attributes:
        dry_run: only say what would.
        keep_versions: how many of a model's newest versions stay, whatever their stage; None keeps all.
        older_than_days: only versions that have been in their stage for so long.
    """

    dry_run: bool
    keep_versions: int | None
    older_than_days: float | None


@dataclass(frozen=True)
class Dispensable:
    """A version that may go unless somebody needs it."""

    id: UUID
    model_id: str
    stage: Stage
    stage_since: datetime
    size_bytes: int


@dataclass(frozen=True)
class Kept:
    """A version that would have gone, and who needs it."""

    model_id: str
    needed_by: list[str]


@dataclass
class Sweep:
    """What went, or would go."""

    dry_run: bool
    versions: list[Dispensable] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    blobs: list[str] = field(default_factory=list)
    log_days: list[date] = field(default_factory=list)
    outcome_sums: int = 0
    profiles: int = 0


class _Undo(Exception):  # noqa: N818 - the end of a dry run, not a malfunction
    """Nothing of this transaction shall stay."""


async def clean_up(
    database: Database,
    store: ArtifactStore,
    settings: Settings,
    order: Order,
    *,
    caller: Caller,
    actor: Actor,
) -> Sweep:
    """Delete what nobody needs any more; blobs last, after the versions that had them are gone for good."""
    stored = [digest async for digest in store.list_digests(stored_before=clock.now() - SAFETY_MARGIN)]
    sweep = Sweep(order.dry_run)
    with suppress(_Undo):
        async with database.writes(actor) as session:
            await _delete_versions(session, caller, order, sweep)
            sweep.blobs = [digest async for digest in _unused(session, stored)]
            await _sweep_evidence(session, settings, sweep)
            if order.dry_run:
                raise _Undo
            _announce(session, sweep)
    if not order.dry_run:
        await _delete_blobs(database, store, sweep.blobs, actor)
    return sweep


async def _delete_versions(session: AsyncSession, caller: Caller, order: Order, sweep: Sweep) -> None:
    async for version in _list_dispensable(session, caller, order):
        try:
            await delete_version(session, version.id)
        except StillNeeded as refusal:
            sweep.kept.append(Kept(version.model_id, refusal.needed_by))
        else:
            sweep.versions.append(version)


async def _list_dispensable(
    session: AsyncSession, caller: Caller, order: Order
) -> AsyncIterator[Dispensable]:
    """The versions that the order lets go, model by model. The one that a rollback would return to is none."""
    if order.keep_versions is None and order.older_than_days is None:
        return
    before = clock.now() - timedelta(days=order.older_than_days or 0)
    async for model_id in _list_models(session, caller):
        found = await _versions_beyond(session, model_id, order.keep_versions or 0)
        way_back = await _ways_back(session, model_id) if found else frozenset()
        for version in found:
            if version.stage in DISPENSABLE and version.stage_since <= before and version.id not in way_back:
                yield version


async def _list_models(session: AsyncSession, caller: Caller) -> AsyncIterator[UUID]:
    after = None
    while True:
        page = search.select_models(caller, search.Filters(), after, MODELS_AT_ONCE)
        models = (await session.scalars(page)).all()
        for model in models[:MODELS_AT_ONCE]:
            yield model.id
        if len(models) <= MODELS_AT_ONCE:
            return
        after = models[MODELS_AT_ONCE - 1].name


async def _versions_beyond(session: AsyncSession, model_id: UUID, keep: int) -> list[Dispensable]:
    """A model's versions but for the newest `keep`; without the columns that may be large."""
    all_of_it = search.select_versions(model_id, search.Filters(), None, MOST_VERSIONS).subquery().c
    wanted = select(
        all_of_it.id,
        all_of_it.model_name,
        all_of_it.number,
        all_of_it.stage,
        all_of_it.stage_since,
        all_of_it.size_bytes,
    )
    rows = await session.execute(wanted.order_by(all_of_it.number.desc()).offset(keep))
    return [
        Dispensable(
            row.id,
            str(Reference(row.model_name, number=row.number)),
            row.stage,
            row.stage_since,
            row.size_bytes,
        )
        for row in rows
    ]


async def _ways_back(session: AsyncSession, model_id: UUID) -> frozenset[UUID]:
    """The versions to which a rollback would return, in each environment where the model is in production."""
    environments = await registry.champions_in(session, model_id)
    found = [await registry.find_predecessor(session, model_id, environment) for environment in environments]
    return frozenset(version.id for version in found if version is not None)


async def _unused(session: AsyncSession, digests: Sequence[str]) -> AsyncIterator[str]:
    for start in range(0, len(digests), BLOBS_AT_ONCE):
        for digest in sorted(await unused_digests(session, digests[start : start + BLOBS_AT_ONCE])):
            yield digest


async def _sweep_evidence(session: AsyncSession, settings: Settings, sweep: Sweep) -> None:
    """The log's old days and what goes with them; a dry run only counts, for dropping them locks the log for a moment."""
    sweep.log_days = await _list_old_days(session, settings)
    if sweep.log_days:
        end = datetime.combine(sweep.log_days[-1], time.max, UTC)
        sweep.outcome_sums = await count_five_minutes(session, before=end)
    sweep.profiles = await count_due(session)
    if not sweep.dry_run:
        sweep.log_days = await keep_log_days(session, settings.prediction_retention_days)
        await enqueue(session, ROLL_UP, {}, dedupe_key=ROLL_UP)


async def _list_old_days(session: AsyncSession, settings: Settings) -> list[date]:
    oldest = clock.now().astimezone(UTC).date() - timedelta(days=settings.prediction_retention_days)
    return sorted({day for _, day in await list_partitions(session) if day < oldest})


def _announce(session: AsyncSession, sweep: Sweep) -> None:
    if sweep.versions or sweep.blobs or sweep.log_days:
        days = [day.isoformat() for day in sweep.log_days]
        announce(session, CleanedUp([version.model_id for version in sweep.versions], len(sweep.blobs), days))


async def _delete_blobs(
    database: Database, store: ArtifactStore, digests: Sequence[str], actor: Actor
) -> None:
    """Delete blobs, asking once more of each batch while nobody can register it: known bytes may come anew."""
    for start in range(0, len(digests), DELETED_AT_ONCE):
        async with database.writes(actor) as session:
            await let_nobody_keep_blobs(session)
            for digest in await unused_digests(session, digests[start : start + DELETED_AT_ONCE]):
                await store.delete(digest)
    store.sweep_partial_writes(clock.now())
