"""What a new version is called: the next number of its model, and what its semantic version follows."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import bindparam, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor
from app.core.facts import announce
from app.core.ids import new_id
from app.core.prepared import PreparedRead, PreparedWrite
from app.registry import facts
from app.registry.errors import BadModelName, NameTooClose
from app.registry.rules import Recipe, Semantic, is_model_name, twin_key
from app.registry.tables import Model, Version
from app.runtimes.schema import Signature

_M, _V = Model.__table__.c, Version.__table__.c


async def take_number(session: AsyncSession, name: str) -> tuple[UUID, int]:
    """The id of a model and its next number; the model is made when it is new, and locked until the transaction ends.

    Raises:
        BadModelName: it can't be a model's name.
        NameTooClose: a model exists whose name differs only in case or spelling.
    """
    if not is_model_name(name):
        raise BadModelName(name)
    actor: Actor = session.info["actor"]
    key = twin_key(name)
    taken = await _COUNT_UP.row(session, key=key, named=name)
    if taken is None:
        new = {"id": new_id(), "name": name, "twin_key": key, "made_by": actor.name, "made_at": clock.now()}
        await _MAKE.run(session, {**new, "tags": {}, "gates": {}, "last_number": 0})
        taken = await _COUNT_UP.row(session, key=key, named=name)
    if taken is None:
        [[twin]] = await _TWIN.rows(session, key=key)
        raise NameTooClose(name, twin)
    model_id, number, deleted_at = taken
    if deleted_at is not None:
        await session.execute(update(Model).where(Model.id == model_id).values(deleted_at=None))
    if number == 1 or deleted_at is not None:
        announce(session, facts.ModelCreated(name))
    return model_id, number


@dataclass(frozen=True)
class Latest:
    """What of a model's newest version decides on the semantic version after it."""

    id: UUID
    semantic: Semantic
    algorithm: str | None
    parameters: dict[str, object]
    signature: Signature

    @property
    def recipe(self) -> Recipe:
        """What a change of makes a new minor version."""
        return Recipe(self.algorithm, self.parameters, self.signature.names)


async def find_latest_version(session: AsyncSession, model_id: UUID) -> Latest | None:
    """The version that was registered last and is not deleted."""
    row = await _LATEST.row(session, model=model_id)
    if row is None:
        return None
    version_id, major, minor, patch, algorithm, parameters, signature = row
    return Latest(
        version_id, Semantic(major, minor, patch), algorithm, parameters, Signature.from_json(signature)
    )


async def used_patches(session: AsyncSession, model_id: UUID, first: Semantic) -> set[Semantic]:
    """The semantic versions that a model ever used, from one on up to its next minor one, deleted ones included."""
    parts = {"major": first.major, "minor": first.minor, "patch": first.patch}
    return {Semantic(*row) for row in await _PATCHES.rows(session, model=model_id, **parts)}


async def find_highest_semantic(session: AsyncSession, model_id: UUID) -> Semantic | None:
    """The highest semantic version that a model ever used, deleted ones included."""
    row = await _HIGHEST.row(session, model=model_id)
    return Semantic(*row) if row else None


_COUNT_UP = PreparedRead(
    update(Model)
    .where(_M.twin_key == bindparam("key"), _M.name == bindparam("named"))
    .values(last_number=_M.last_number + literal_column("1"))
    .returning(_M.id, _M.last_number, _M.deleted_at)
)
_MAKE = PreparedWrite(  # of two at once one waits and makes nothing, whichever unique index tells it first
    insert(Model).on_conflict_do_nothing(),
    column_keys=["id", "name", "twin_key", "tags", "gates", "last_number", "made_by", "made_at"],
)
_TWIN = PreparedRead(select(_M.name).where(_M.twin_key == bindparam("key")))
_OF_MODEL = _V.model_id == bindparam("model")
_SEMANTIC = (_V.major, _V.minor, _V.patch)
_LATEST = PreparedRead(
    select(_V.id, *_SEMANTIC, _V.algorithm, _V.parameters, _V.signature)
    .where(_OF_MODEL, _V.deleted_at.is_(None))
    .order_by(_V.number.desc())
    .limit(literal_column("1"))
)
_PATCHES = PreparedRead(
    select(*_SEMANTIC)
    .where(_OF_MODEL, _V.major == bindparam("major"), _V.minor == bindparam("minor"))
    .where(_V.patch >= bindparam("patch"))
)
_HIGHEST = PreparedRead(
    select(*_SEMANTIC)
    .where(_OF_MODEL)
    .order_by(*(part.desc() for part in _SEMANTIC))
    .limit(literal_column("1"))
)
