"""A version's way through its stages, its time in production, and its end."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BindParameter, Text, Uuid, any_, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor
from app.core.facts import announce
from app.core.ids import new_id
from app.core.notify import notify
from app.core.prepared import PreparedInsert, PreparedRead, PreparedWrite
from app.registry import facts
from app.registry.errors import IllegalMove, StillNeeded
from app.registry.facts import CHANNEL
from app.registry.queries import PRODUCTION, get_model, holders_of, lock_version
from app.registry.rules import FORCED_MOVES, MOVES, Stage, may_move
from app.registry.succession import Contender, lock_contenders
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
    await record_move(session, version, origin, reason=reason, environment=environment)
    announce(session, facts.StageMoved(version.model_name, version.number, origin, goal, reason, environment))
    notify(session, CHANNEL, version.model_name)
    return version


def require_way_to_production(version: Contender, *, force: bool) -> None:
    """Refuse a version whose stage does not lead to production, before anybody loads it for nothing.

    Raises:
        IllegalMove: its stage does not.
    """
    if version.stage != Stage.PRODUCTION and not may_move(version.stage, Stage.PRODUCTION, force=force):
        raise _illegal(version, Stage.PRODUCTION)


def _illegal(version: Version | Contender, goal: Stage) -> IllegalMove:
    allowed = sorted(MOVES[version.stage]) + [
        f"{stage} (forced)" for stage in FORCED_MOVES.get(version.stage, ())
    ]
    return IllegalMove(version.model_reference, version.stage, goal, allowed)


async def record_move(
    session: AsyncSession,
    version: Version,
    origin: Stage | None,
    *,
    reason: str,
    environment: str | None = None,
) -> None:
    """Keep who brought a version to the stage it is in, and why."""
    await _ADD_MOVE.run(session, _move_row(session, version.id, origin, version.stage, reason, environment))


def _move_row(
    session: AsyncSession,
    version_id: UUID,
    origin: Stage | None,
    goal: Stage,
    reason: str,
    environment: str | None,
) -> dict[str, Any]:
    actor: Actor = session.info["actor"]
    return {
        "id": new_id(), "version_id": version_id, "origin": origin, "goal": goal, "environment": environment,
        "actor": actor.name, "role": actor.role, "reason": reason, "at": clock.now(),
    }  # fmt: skip


async def enthrone(
    session: AsyncSession,
    version_id: UUID,
    *,
    environment: str = PRODUCTION,
    reason: str,
    force: bool = False,
    contenders: tuple[Contender, Contender | None] | None = None,
) -> Contender | None:
    """Make a version the one in production in an environment; the one before it is deprecated and returned.

    `contenders` is what `lock_contenders` said, where this transaction has asked already.

    Raises:
        VersionNotFound: the version was deleted.
        IllegalMove: the version's stage does not lead to production.
    """
    version, before = contenders or await lock_contenders(session, version_id, environment)
    if before is not None and before.id == version.id:
        return before
    moves = [(version, Stage.PRODUCTION)] if version.stage != Stage.PRODUCTION else []
    if before is not None and not before.reigns_elsewhere:
        moves.append((before, Stage.DEPRECATED))
    await _move_together(session, moves, reason=reason, environment=environment, force=force)
    await _end_tenure(session, version.model_id, environment)
    await _begin_tenure(session, version, environment)
    notify(session, CHANNEL, version.model_name)
    return before


async def _move_together(
    session: AsyncSession,
    moves: Sequence[tuple[Contender, Stage]],
    *,
    reason: str,
    environment: str,
    force: bool,
) -> None:
    """What `move_stage` does, for versions that are locked already."""
    for version, goal in moves:
        if not may_move(version.stage, goal, force=force):
            raise _illegal(version, goal)
        moved = facts.StageMoved(version.model_name, version.number, version.stage, goal, reason, environment)
        announce(session, moved)
    now = clock.now()
    await _SET_STAGE.run(session, *({"version": each.id, "goal": goal, "now": now} for each, goal in moves))
    rows = (_move_row(session, each.id, each.stage, goal, reason, environment) for each, goal in moves)
    await _ADD_MOVE.run(session, *rows)


async def _begin_tenure(session: AsyncSession, version: Contender, environment: str) -> None:
    reign = {"model_id": version.model_id, "environment": environment, "version_id": version.id}
    await _ADD_TENURE.run(session, {"id": new_id(), "began_at": clock.now(), **reign})


async def _end_tenure(session: AsyncSession, model_id: UUID, environment: str) -> None:
    await _END_TENURE.run(session, {"model": model_id, "place": environment, "now": clock.now()})


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
    await shift_holds(session, holder, onto={version_id})


async def shift_holds(
    session: AsyncSession,
    holder: str,
    *,
    off: AbstractSet[UUID] = frozenset(),
    onto: AbstractSet[UUID] = frozenset(),
) -> None:
    """Need some versions no more, and others from now on; releasing what is not held changes nothing.

    Raises:
        VersionNotFound: one of those that are needed was deleted.
    """
    held = await _SHIFT.rows(session, holder=holder, off=[*off], onto=[*onto], now=clock.now())
    for version_id in onto - {row[0] for row in held}:
        await lock_version(session, version_id)  # which tells what is wrong with it


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
    notify(session, CHANNEL, version.model_name)


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


def _shift_statement() -> PreparedRead:
    gone = delete(Hold).where(Hold.holder == bindparam("holder"), Hold.version_id == any_(_ids("off")))
    needed = select(Version.id).where(Version.id == any_(_ids("onto")), Version.deleted_at.is_(None))
    held = needed.order_by(Version.id).with_for_update().cte()
    given = [bindparam("holder", type_=Text), bindparam("now", type_=Hold.placed_at.type)]
    row = select(held.c.id, *given)
    placed = insert(Hold).from_select(["version_id", "holder", "placed_at"], row).on_conflict_do_nothing()
    return PreparedRead(select(held.c.id).add_cte(gone.cte(), placed.cte()))


def _ids(name: str) -> BindParameter[Any]:
    return bindparam(name, type_=ARRAY(Uuid))


_SHIFT = _shift_statement()
_ADD_MOVE, _ADD_TENURE = PreparedInsert(StageMove), PreparedInsert(Tenure)
_SET_STAGE = PreparedWrite(
    update(Version)
    .where(Version.id == bindparam("version"))
    .values(stage=bindparam("goal"), stage_since=bindparam("now"))
)
_END_TENURE = PreparedWrite(
    update(Tenure)
    .where(Tenure.model_id == bindparam("model"), Tenure.environment == bindparam("place"))
    .where(Tenure.ended_at.is_(None))
    .values(ended_at=bindparam("now"))
)
