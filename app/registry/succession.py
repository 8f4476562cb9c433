"""Who may follow whom in production: a version, the one that reigns there, and what the gate said of the two."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, exists, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.database import Database
from app.core.prepared import PreparedRead
from app.registry.errors import VersionNotFound
from app.registry.queries import get_named_version, get_version_by_id, latest_references, read_reference
from app.registry.rules import Reference, Stage
from app.registry.tables import Alias, GateReport, Model, Tenure, Version

_TABLES = (Model, Version, Tenure, GateReport, Alias)
_MODEL, _VERSION, _TENURE, _REPORT, _ALIAS = (entity.__table__ for entity in _TABLES)
_V, _T, _R = _VERSION.c, _TENURE.c, _REPORT.c
_HERE = (_T.environment == bindparam("environment")) & _T.ended_at.is_(None)


Contenders = tuple["Contender", "Contender | None"]
"""A version, and the one in production."""


async def get_model_of(session: AsyncSession, version_id: UUID) -> tuple[UUID, str]:
    """The model of a version that another room's row names: its id and its name."""
    [[model_id, name]] = await _MODEL_OF.rows(session, version_id=version_id)
    return model_id, name


@dataclass(frozen=True)
class Contender:
    """A version that reigns somewhere, or is about to."""

    id: UUID
    model_id: UUID
    model_name: str
    number: int
    stage: Stage
    reigns: bool
    """In the environment in question."""
    reigns_elsewhere: bool

    @property
    def model_reference(self) -> str:
        """The canonical `name:number`."""
        return str(Reference(self.model_name, number=self.number))


async def lock_contenders(session: AsyncSession, version_id: UUID, environment: str) -> Contenders:
    """A version and the one in production in an environment; nobody else can move either until this transaction ends.

    Raises:
        VersionNotFound: the version was deleted.
    """
    rows = await _LOCK_BOTH.rows(session, version_id=version_id, environment=environment)
    return await tell_contenders(session, rows, version_id)


async def tell_contenders(
    session: AsyncSession, rows: Iterable[Sequence[Any]], version_id: UUID
) -> Contenders:
    """Which of the rows of `CONTENDERS` is the version, and which the one in production.

    Raises:
        VersionNotFound: the version is not among them, for it was deleted.
    """
    found = [Contender(*row) for row in rows]
    champion = next((each for each in found if each.reigns), None)
    candidate = next((each for each in found if each.id == version_id), None)
    if candidate is None:
        lost = await get_version_by_id(session, version_id)
        raise VersionNotFound(lost.model_reference, await latest_references(session, lost.model_id))
    return candidate, champion


@dataclass(frozen=True)
class Standing:
    """How a version stands at a gate."""

    model_id: UUID
    model_name: str
    version_id: UUID
    number: int
    stage: Stage
    champion_id: UUID | None
    """The version in production now."""
    has_passed: bool
    """The gate, against that champion, before it was asked."""

    @property
    def model(self) -> tuple[UUID, str]:
        """Its id and its name."""
        return self.model_id, self.model_name

    @property
    def model_reference(self) -> str:
        """The canonical `name:number`."""
        return str(Reference(self.model_name, number=self.number))

    @property
    def rival_id(self) -> UUID | None:
        """The version that it has to be as good as: the champion, unless that is this very version."""
        return None if self.champion_id == self.version_id else self.champion_id


async def get_standing(database: Database, reference: str, goal: Stage, environment: str) -> Standing:
    """How the version that a reference names stands at the gate before a stage.

    Raises:
        BadReference, ModelNotFound, VersionNotFound, VersionNeeded.
    """
    wanted = read_reference(reference)
    row = None if wanted.is_bare else await _find(database, wanted, goal=goal, environment=environment)
    if row is None:
        async with database.reads() as session:
            version = await get_named_version(session, reference, environment)
        return await get_standing(database, version.model_reference, goal, environment)
    model_id, model_name, version_id, number, stage, champion_id, passed = row
    return Standing(model_id, model_name, version_id, number, stage, champion_id, bool(passed))


async def _find(database: Database, wanted: Reference, **options: Any) -> list[Any] | None:
    options["name"] = wanted.name
    if wanted.alias is not None:
        return await _BY_ALIAS.row(database, alias=wanted.alias, **options)
    if wanted.number is not None:
        return await _BY_NUMBER.row(database, number=wanted.number, **options)
    assert wanted.semantic is not None, "it is not bare"
    parts = {name: getattr(wanted.semantic, name) for name in ("major", "minor", "patch")}
    return await _BY_SEMANTIC.row(database, **parts, **options)


def _select_both() -> Select[Any]:
    candidate, reign = _VERSION.alias(), _TENURE.alias()
    reigning = (
        select(reign.c.version_id)
        .join_from(reign, candidate, candidate.c.model_id == reign.c.model_id)
        .where(candidate.c.id == bindparam("version_id"), reign.c.ended_at.is_(None))
        .where(reign.c.environment == bindparam("environment"))
        .scalar_subquery()
    )
    reigns = exists().where(_T.version_id == _V.id, _T.ended_at.is_(None)).correlate(_VERSION)
    return (
        select(
            *(_V.id, _V.model_id, _V.model_name, _V.number, _V.stage),
            reigns.where(_T.environment == bindparam("environment")),
            reigns.where(_T.environment != bindparam("environment")),
        )
        .where(or_(_V.id == bindparam("version_id"), _V.id == reigning), _V.deleted_at.is_(None))
        .order_by(_V.id)
        .with_for_update(of=_VERSION)
    )


def _select_standing(*conditions: ColumnElement[bool]) -> Select[Any]:
    champion = (
        select(_T.version_id).where(_T.model_id == _V.model_id, _HERE).correlate(_VERSION).scalar_subquery()
    )
    passed = (
        select(_R.passed)
        .where(_R.version_id == _V.id, _R.goal == bindparam("goal"))
        .where(_R.champion_id.is_not_distinct_from(func.nullif(champion, _V.id)))
        .order_by(_R.id.desc())
        .limit(literal_column("1"))
        .correlate(_VERSION)
        .scalar_subquery()
    )
    named = _V.model_id, _V.model_name, _V.id, _V.number, _V.stage
    query = select(*named, champion, passed).join_from(_VERSION, _MODEL, _MODEL.c.id == _V.model_id)
    return query.where(_MODEL.c.name == bindparam("name"), _V.deleted_at.is_(None), *conditions)


_MODEL_OF = PreparedRead(select(_V.model_id, _V.model_name).where(_V.id == bindparam("version_id")))
CONTENDERS = _select_both()
"""For `version_id` and `environment`, what `tell_contenders` reads."""
_LOCK_BOTH = PreparedRead(CONTENDERS)
_BY_NUMBER = PreparedRead(_select_standing(_V.number == bindparam("number")))
_BY_SEMANTIC = PreparedRead(
    _select_standing(*(_V[name] == bindparam(name) for name in ("major", "minor", "patch")))
)
_BY_ALIAS = PreparedRead(
    _select_standing(
        exists().where(_ALIAS.c.version_id == _V.id, _ALIAS.c.alias == bindparam("alias")),
    )
)
