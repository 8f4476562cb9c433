"""Models and versions as the JSON that is answered, each finished by Postgres in one prepared statement.

What the registry is asked most passes through this process as text: reading rows, building objects of them and
writing those out again would cost several times what the rest of an answer does. The shapes are those of `schemas`;
a field of theirs that has no expression here stops the import.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    DateTime,
    FromClause,
    ScalarSelect,
    Select,
    Table,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.database import Database
from app.core.prepared import PreparedRead
from app.registry.queries import id_under
from app.registry.rules import STATUS, Reference
from app.registry.schemas import FileOut, GateReportOut, ModelOut, MoveOut, VersionOut, VersionWhole
from app.registry.tables import Alias, GateReport, Model, Part, StageMove, Tenure, Version, VersionFile

Source = AsyncSession | Database


def _table(entity: Any) -> Table:
    table: Table = entity.__table__
    return table


_ALIAS, _FILE, _MODEL, _MOVE, _REPORT, _TENURE, _VERSION = map(
    _table, (Alias, VersionFile, Model, StageMove, GateReport, Tenure, Version)
)
_EMPTY_LIST: ColumnElement[Any] = literal_column("'[]'::json")
_EMPTY_OBJECT: ColumnElement[Any] = literal_column("'{}'::jsonb")
_IS_OPEN = _TENURE.c.ended_at.is_(None)


def _word(text: str) -> ColumnElement[Any]:
    """A word of our own, in the statement itself: as a parameter it would have no type."""
    return literal_column(f"'{text}'")


def _moment(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A time as the API writes it: in UTC, without a fraction that is zero."""
    written = func.to_char(func.timezone(_word("UTC"), column), _word('YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
    return func.replace(written, _word(".000000"), _word(""))


def _object(shape: type[BaseModel], table: FromClause, **others: ColumnElement[Any]) -> ColumnElement[Any]:
    """A JSON object of this shape: the table's columns of the same names, and what differs from them."""
    fields: list[ColumnElement[Any]] = []
    for name in shape.model_fields:
        value = others[name] if name in others else table.c[name]
        fields += [_word(name), _moment(value) if isinstance(value.type, DateTime) else value]
    return func.json_build_object(*fields)


def _reference(version: FromClause) -> ColumnElement[Any]:
    return func.concat(version.c.model_name, _word(":"), version.c.number)


def _listed(value: ColumnElement[Any], order: Any, *conditions: ColumnElement[bool]) -> ScalarSelect[Any]:
    """A JSON list of what the rows that meet these conditions have."""
    listed = func.coalesce(func.json_agg(aggregate_order_by(value, order)), _EMPTY_LIST)
    return select(listed).where(*conditions).scalar_subquery()


def _version_fields(version: FromClause) -> dict[str, ColumnElement[Any]]:
    """What an answer says of a version otherwise than its row does."""
    columns, probe = version.c, version.c.probe
    parts = (columns.major, _word("."), columns.minor, _word("."), columns.patch)
    serving = _TENURE.c.version_id == columns.id, _IS_OPEN
    return {
        "model_id": _reference(version),
        "name": columns.model_name,
        "version": columns.number,
        "semantic_version": func.concat(*parts),
        "status": case(*((columns.stage == _word(stage), _word(word)) for stage, word in STATUS.items())),
        "environments": _listed(_TENURE.c.environment, _TENURE.c.environment, *serving).correlate(version),
        "aliases": _listed(_ALIAS.c.alias, _ALIAS.c.alias, _ALIAS.c.version_id == columns.id).correlate(
            version
        ),
        "served_as": func.coalesce(probe.op("->>")(_word("served_as")), columns.format),
        "warnings": func.coalesce(probe.op("->")(_word("warnings")), literal_column("'[]'::jsonb")),
    }


def _details(
    shape: type[BaseModel], table: Table, order: Any, **others: ColumnElement[Any]
) -> ScalarSelect[Any]:
    """A version's rows in a table, as a JSON list."""
    return _listed(_object(shape, table, **others), order, table.c.version_id == _VERSION.c.id)


_MODEL_ID = id_under(bindparam("name", type_=Text))


def _select_whole(*conditions: ColumnElement[bool]) -> Select[Any]:
    artifact = _FILE.c.version_id == _VERSION.c.id, _FILE.c.part == _word(Part.ARTIFACT)
    whole = _object(
        VersionWhole,
        _VERSION,
        **_version_fields(_VERSION),
        files=_listed(_object(FileOut, _FILE, sha256=_FILE.c.digest), _FILE.c.path, *artifact),
        history=_details(MoveOut, _MOVE, _MOVE.c.id),
        gate_reports=_details(GateReportOut, _REPORT, _REPORT.c.id.desc()),
    )
    return select(cast(whole, Text)).where(
        _VERSION.c.model_id == _MODEL_ID, _VERSION.c.deleted_at.is_(None), *conditions
    )


_BY_NUMBER = PreparedRead(_select_whole(_VERSION.c.number == bindparam("number")))
_BY_SEMANTIC = PreparedRead(
    _select_whole(*(_VERSION.c[part] == bindparam(part) for part in ("major", "minor", "patch")))
)
_BY_ALIAS = PreparedRead(
    _select_whole(
        _VERSION.c.id
        == select(_ALIAS.c.version_id)
        .where(_ALIAS.c.alias == bindparam("alias"), _ALIAS.c.model_id == _MODEL_ID)
        .scalar_subquery()
    )
)


async def find_version_whole(source: Source, wanted: Reference) -> str | None:
    """The version that a reference other than a bare name means, with its files, history and gate reports."""
    name, semantic = wanted.name, wanted.semantic
    if wanted.number is not None:
        rows = await _BY_NUMBER.rows(source, name=name, number=wanted.number)
    elif semantic is not None:
        rows = await _BY_SEMANTIC.rows(
            source, name=name, major=semantic.major, minor=semantic.minor, patch=semantic.patch
        )
    else:
        rows = await _BY_ALIAS.rows(source, name=name, alias=wanted.alias)
    return rows[0][0] if rows else None


_VERSIONS = PreparedRead(
    select(_VERSION.c.id, cast(_object(VersionOut, _VERSION, **_version_fields(_VERSION)), Text)).where(
        _VERSION.c.id == func.any(bindparam("ids", type_=ARRAY(Uuid)))
    )
)


async def summarise_versions(source: Source, ids: Sequence[UUID]) -> list[str]:
    """These versions, in this order, with what points to them."""
    texts: dict[UUID, str] = dict(await _VERSIONS.rows(source, ids=ids))
    return [texts[each] for each in ids]


def _pointed(pointers: Table, name: str, *conditions: ColumnElement[bool]) -> ColumnElement[Any]:
    """What points to versions of a model, as one object: name → `model:number`."""
    pairs = func.jsonb_object_agg(pointers.c[name], _reference(_VERSION))
    query = select(func.coalesce(pairs, _EMPTY_OBJECT)).join_from(
        pointers, _VERSION, _VERSION.c.id == pointers.c.version_id
    )
    return query.where(pointers.c.model_id == _MODEL.c.id, *conditions).correlate(_MODEL).scalar_subquery()


def _model() -> ColumnElement[Any]:
    newest = (
        select(_object(VersionOut, _VERSION, **_version_fields(_VERSION)))
        .where(_VERSION.c.model_id == _MODEL.c.id, _VERSION.c.deleted_at.is_(None))
        .order_by(_VERSION.c.number.desc())
        .limit(literal_column("1"))
    )
    return _object(
        ModelOut,
        _MODEL,
        latest=newest.correlate(_MODEL).scalar_subquery(),
        production=_pointed(_TENURE, "environment", _IS_OPEN),
        aliases=_pointed(_ALIAS, "alias"),
    )


_SELECT_MODELS = (
    select(_MODEL.c.name, cast(_model(), Text)).where(_MODEL.c.deleted_at.is_(None)).order_by(_MODEL.c.name)
)
_MODELS = PreparedRead(_SELECT_MODELS.where(_MODEL.c.name == func.any(bindparam("names", type_=ARRAY(Text)))))
_PAGE = PreparedRead(
    _SELECT_MODELS.where(
        _MODEL.c.name.like(func.any(bindparam("patterns", type_=ARRAY(Text)))),
        _MODEL.c.name > bindparam("after"),
    ).limit(bindparam("most"))
)


async def summarise_models(source: Source, names: Sequence[str]) -> list[tuple[str, str]]:
    """The names and summaries of the models among these that exist, by name."""
    return [(name, text) for name, text in await _MODELS.rows(source, names=names)]


async def summarise_next_models(
    source: Source, patterns: Sequence[str], after: str | None, most: int
) -> list[tuple[str, str]]:
    """The names and summaries of the models after a name that match some pattern of `LIKE`, by name."""
    rows = await _PAGE.rows(source, patterns=patterns, after=after or "", most=most)
    return [(name, text) for name, text in rows]
