"""A version's way through its stages, its time in production, and its end."""

from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor
from app.core.facts import announce
from app.core.notify import notify
from app.registry import facts
from app.registry.errors import IllegalMove, StillNeeded
from app.registry.facts import CHANNEL
from app.registry.queries import PRODUCTION, find_champion, get_model, holders_of, lock_version
from app.registry.rules import FORCED_MOVES, MOVES, Stage, may_move
from app.registry.tables import Hold, StageMove, Tenure, Version, VersionFile


async def move_stage(
    session: AsyncSession,
    version_id: UUID,
    goal: Stage,
    *,
    reason: str,
    environment: str | None = None,
    force: bool = False,
) -> Version:
    """Take a version to another stage.

    Raises:
        IllegalMove: the stage it is in does not lead there.
        StillNeeded: it is to be archived while somebody holds it.
    """
    version = await lock_version(session, version_id)
    if not may_move(version.stage, goal, force=force):
        raise _illegal(version, goal)
    if goal == Stage.ARCHIVED:
        await _require_unneeded(session, version)
    origin, version.stage, version.stage_since = version.stage, goal, clock.now()
    record_move(session, version, origin, reason=reason, environment=environment)
    announce(session, facts.StageMoved(version.model_name, version.number, origin, goal, reason, environment))
    await notify(session, CHANNEL, version.model_name)
    return version


def _illegal(version: Version, goal: Stage) -> IllegalMove:
    allowed = sorted(MOVES[version.stage]) + [
        f"{stage} (forced)" for stage in FORCED_MOVES.get(version.stage, ())
    ]
    return IllegalMove(version.model_reference, version.stage, goal, allowed)


def record_move(
    session: AsyncSession,
    version: Version,
    origin: Stage | None,
    *,
    reason: str,
    environment: str | None = None,
) -> None:
    """Keep who brought a version to the stage it is in, and why."""
    actor: Actor = session.info["actor"]
    session.add(
        StageMove(
            version_id=version.id, origin=origin, goal=version.stage, environment=environment,
            actor=actor.name, role=actor.role, reason=reason, at=clock.now(),
        )
    )  # fmt: skip


async def enthrone(
    session: AsyncSession,
    version_id: UUID,
    *,
    environment: str = PRODUCTION,
    reason: str,
    force: bool = False,
) -> Version | None:
    """Make a version the one in production in an environment; the one before it is deprecated and returned.

    Raises:
        IllegalMove: the version's stage does not lead to production.
    """
    version = await lock_version(session, version_id)
    before = await find_champion(session, version.model_id, environment)
    if before is not None and before.id == version.id:
        return before
    await _end_tenure(session, version.model_id, environment)
    if version.stage != Stage.PRODUCTION:
        await move_stage(
            session, version_id, Stage.PRODUCTION, reason=reason, environment=environment, force=force
        )
    session.add(
        Tenure(
            model_id=version.model_id, environment=environment, version_id=version.id, began_at=clock.now()
        )
    )
    await session.flush()
    if before is not None:
        await _deprecate_unless_reigning(session, before.id, reason, environment)
    await notify(session, CHANNEL, version.model_name)
    return before


async def _end_tenure(session: AsyncSession, model_id: UUID, environment: str) -> None:
    reigning = update(Tenure).where(
        Tenure.model_id == model_id, Tenure.environment == environment, Tenure.ended_at.is_(None)
    )
    await session.execute(reigning.values(ended_at=clock.now()))


async def retire(
    session: AsyncSession, version_id: UUID, *, environment: str = PRODUCTION, reason: str
) -> None:
    """End a version's time in production in an environment without a successor."""
    version = await lock_version(session, version_id)
    await _end_tenure(session, version.model_id, environment)
    await _deprecate_unless_reigning(session, version_id, reason, environment)


async def _deprecate_unless_reigning(
    session: AsyncSession, version_id: UUID, reason: str, environment: str
) -> None:
    elsewhere = select(Tenure.id).where(Tenure.version_id == version_id, Tenure.ended_at.is_(None)).limit(1)
    if await session.scalar(elsewhere) is None:
        await move_stage(session, version_id, Stage.DEPRECATED, reason=reason, environment=environment)


async def place_hold(session: AsyncSession, version_id: UUID, holder: str) -> None:
    """Keep a version from being deleted or archived, in the name of `holder`.

    Raises:
        VersionNotFound: it was deleted.
    """
    await lock_version(session, version_id)
    row = insert(Hold).values(version_id=version_id, holder=holder, placed_at=clock.now())
    await session.execute(row.on_conflict_do_nothing())


async def release_hold(session: AsyncSession, version_id: UUID, holder: str) -> None:
    """Need a version no more; releasing what is not held changes nothing."""
    await session.execute(delete(Hold).where(Hold.version_id == version_id, Hold.holder == holder))


async def _require_unneeded(session: AsyncSession, version: Version) -> None:
    needed_by = await holders_of(session, version.id)
    if version.stage == Stage.PRODUCTION:
        needed_by.insert(0, "production traffic")
    if needed_by:
        raise StillNeeded(version.model_reference, needed_by)


async def delete_version(session: AsyncSession, version_id: UUID) -> None:
    """Delete a version: its row stays as a tombstone, its files are left to the clean-up of unused blobs.

    Raises:
        StillNeeded: it serves, is aliased, or is held.
    """
    version = await lock_version(session, version_id)
    await _require_unneeded(session, version)
    version.deleted_at = clock.now()
    version.signature, version.probe, version.parameters, version.metrics, version.tags = {}, {}, {}, {}, {}
    await session.execute(delete(VersionFile).where(VersionFile.version_id == version_id))
    announce(session, facts.VersionDeleted(version.model_name, version.number, version.artifact_digest))
    await notify(session, CHANNEL, version.model_name)


async def delete_model(session: AsyncSession, name: str) -> None:
    """Delete a model with every version; registering the name again goes on with the next number.

    Raises:
        ModelNotFound, StillNeeded.
    """
    model = await get_model(session, name)
    await session.refresh(model, with_for_update=True)  # who registers a version locks it too
    living = select(Version.id).where(Version.model_id == model.id, Version.deleted_at.is_(None))
    for version_id in (await session.scalars(living.order_by(Version.number))).all():
        await delete_version(session, version_id)
    model.deleted_at = clock.now()
    announce(session, facts.ModelDeleted(name))
