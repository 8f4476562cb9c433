"""Times in production: how one begins and ends, as rows, with the moves between stages that this brings."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Select, Text, Uuid, bindparam, func, insert, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor
from app.core.ids import new_id
from app.core.prepared import PreparedRead, PreparedWrite
from app.registry.rules import Stage
from app.registry.succession import Contender
from app.registry.tables import StageMove, Tenure, Version

Moves = Sequence[tuple[Contender, Stage]]
"""Versions, and the stages that they go to."""


async def end_reign(session: AsyncSession, model_id: UUID, environment: str) -> None:
    """End the time in production of the version that is there."""
    await _END.run(session, {"model": model_id, "place": environment, "now": clock.now()})


async def begin_reign(
    session: AsyncSession, version: Contender, moves: Moves, *, environment: str, reason: str
) -> None:
    """End the time in production of the version that is there, begin that of another, and keep who goes to which stage."""
    actor: Actor = session.info["actor"]
    reign = {"reign": new_id(), "model": version.model_id, "place": environment, "version": version.id}
    who = {"actor": actor.name, "role": actor.role, "reason": reason, "now": clock.now()}
    await _BEGIN.rows(session, **_lists(moves), **reign, **who)


def _lists(moves: Moves) -> dict[str, list[Any]]:
    return {
        "moves": [new_id() for _ in moves],
        "versions": [version.id for version, _ in moves],
        "origins": [version.stage for version, _ in moves],
        "goals": [goal for _, goal in moves],
    }


_ENDING = (
    update(Tenure)
    .where(Tenure.model_id == bindparam("model"), Tenure.environment == bindparam("place"))
    .where(Tenure.ended_at.is_(None))
    .values(ended_at=bindparam("now"))
)
_REIGN = {
    "id": "reign",
    "model_id": "model",
    "environment": "place",
    "version_id": "version",
    "began_at": "now",
}
_SAME_OF_MOVES = {"environment": "place", "actor": "actor", "role": "role", "reason": "reason", "at": "now"}


def _beginning() -> Select[Any]:
    moves = _select_moves().cte()
    moved = update(Version).where(Version.id == moves.c.version_id)
    moved = moved.values(stage=moves.c.goal, stage_since=moves.c.at)
    noted = insert(StageMove).from_select([column.key for column in moves.c], select(moves))
    ended = _ENDING.returning(Tenure.id).cte()
    after_it = select(func.count(ended.c.id)).scalar_subquery() >= literal_column(
        "0"
    )  # or they go in any order
    begun = insert(Tenure).from_select([*_REIGN], select(*_given(Tenure, _REIGN)).where(after_it))
    return select(begun.returning(Tenure.id).cte()).add_cte(moved.cte(), noted.cte())


def _select_moves() -> Select[Any]:
    """What `_lists` gives, as rows of `StageMove`."""
    kinds: dict[str, Any] = {"moves": Uuid(), "versions": Uuid(), "origins": Text(), "goals": Text()}
    lists = [bindparam(name, type_=ARRAY(kind)) for name, kind in kinds.items()]
    each = func.unnest(*lists).table_valued("id", "version_id", "origin", "goal").render_derived()
    return select(*each.c, *_given(StageMove, _SAME_OF_MOVES))


def _given(entity: type[Tenure | StageMove], parameters: dict[str, str]) -> list[Any]:
    columns = entity.__table__.c
    return [bindparam(name, type_=columns[key].type).label(key) for key, name in parameters.items()]


_END, _BEGIN = PreparedWrite(_ENDING), PreparedRead(_beginning())
