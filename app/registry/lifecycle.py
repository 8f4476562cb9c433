"""A version's way through its stages, its time in production, and its end."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BindParameter,
    Select,
    Text,
    Uuid,
    any_,
    bindparam,
    delete,
    select,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor
from app.core.facts import announce
from app.core.ids import new_id
from app.core.notify import notify
from app.core.prepared import PreparedInsert, PreparedRead
from app.registry import facts
from app.registry.errors import IllegalMove, StillNeeded
from app.registry.facts import CHANNEL
from app.registry.queries import PRODUCTION, get_model, holders_of, lock_version
from app.registry.reigns import begin_reign, end_reign
from app.registry.rules import FORCED_MOVES, MOVES, Stage, may_move
from app.registry.succession import Contender, Standing, lock_contenders
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


def require_way_to_production(version: Contender | Standing, *, force: bool) -> None:
    """Refuse a version whose stage does not lead to production, before anybody loads it for nothing.

    Raises:
        IllegalMove: its stage does not.
    """
    if version.stage != Stage.PRODUCTION and not may_move(version.stage, Stage.PRODUCTION, force=force):
        raise _illegal(version, Stage.PRODUCTION)


def _illegal(version: Version | Contender | Standing, goal: Stage) -> IllegalMove:
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
    actor: Actor = session.info["actor"]
    move = {
        "id": new_id(), "version_id": version.id, "origin": origin, "goal": version.stage,
        "environment": environment, "actor": actor.name, "role": actor.role, "reason": reason, "at": clock.now(),
    }  # fmt: skip
    await _ADD_MOVE.run(session, move)


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
    for each, goal in moves:
        _announce_move(session, each, goal, reason=reason, environment=environment, force=force)
    await begin_reign(session, version, moves, environment=environment, reason=reason)
    notify(session, CHANNEL, version.model_name)
    return before


def _announce_move(
    session: AsyncSession, version: Contender, goal: Stage, *, reason: str, environment: str, force: bool
) -> None:
    if not may_move(version.stage, goal, force=force):
        raise _illegal(version, goal)
    names = version.model_name, version.number
    announce(session, facts.StageMoved(*names, version.stage, goal, reason, environment))


async def retire(
    session: AsyncSession, version_id: UUID, *, environment: str = PRODUCTION, reason: str
) -> None:
    """End a version's time in production in an environment without a successor."""
    version = await lock_version(session, version_id)
    await end_reign(session, version.model_id, environment)
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
    held = await _SHIFT.rows(session, **shift_values(holder, onto={version_id}))
    await require_held(session, {version_id}, held)


def shift_values(
    holder: str, *, off: AbstractSet[UUID] = frozenset(), onto: AbstractSet[UUID] = frozenset()
) -> dict[str, Any]:
    """What `SHIFT` needs to know so that some versions are held no more, and others from now on.

    Releasing what is not held changes nothing.
    """
    return {"holder": holder, "off": [*off], "onto": [*onto], "placed_at": clock.now()}


async def require_held(
    session: AsyncSession, version_ids: AbstractSet[UUID], rows: Iterable[Sequence[UUID]]
) -> None:
    """Make sure that the versions are among the rows of `SHIFT`.

    Raises:
        VersionNotFound: one of them was deleted.
    """
    for version_id in version_ids - {row[0] for row in rows}:
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


def _shift_statement() -> Select[Any]:
    gone = delete(Hold).where(Hold.holder == bindparam("holder"), Hold.version_id == any_(_ids("off")))
    needed = select(Version.id).where(Version.id == any_(_ids("onto")), Version.deleted_at.is_(None))
    held = needed.order_by(Version.id).with_for_update().cte()
    given = [bindparam("holder", type_=Text), bindparam("placed_at", type_=Hold.placed_at.type)]
    row = select(held.c.id, *given)
    placed = insert(Hold).from_select(["version_id", "holder", "placed_at"], row).on_conflict_do_nothing()
    return select(held.c.id).add_cte(gone.cte(), placed.cte())


def _ids(name: str) -> BindParameter[Any]:
    return bindparam(name, type_=ARRAY(Uuid))


SHIFT = _shift_statement()
"""Takes `shift_values`; its rows are the versions that are held, those of `onto` that were not deleted."""
_SHIFT = PreparedRead(SHIFT)
_ADD_MOVE = PreparedInsert(StageMove)
