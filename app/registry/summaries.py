"""Models and versions with all that points to them, each in one prepared statement: what the registry is asked most."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    FromClause,
    ScalarSelect,
    Select,
    Table,
    Text,
    bindparam,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.prepared import PreparedRead
from app.registry.rules import Reference
from app.registry.schemas import ModelOut, VersionOut, VersionWhole
from app.registry.tables import Alias, GateReport, Model, Part, StageMove, Tenure, Version, VersionFile


def _table(entity: Any) -> Table:
    table: Table = entity.__table__
    return table


_ALIAS, _FILE, _MODEL, _MOVE, _REPORT, _TENURE, _VERSION = map(
    _table, (Alias, VersionFile, Model, StageMove, GateReport, Tenure, Version)
)
_MODEL_NAMES = [name for name in ModelOut.model_fields if name in _MODEL.columns]
_VERSION_NAMES = [name for name in VersionOut.model_fields if name in _VERSION.columns and name != "model_id"]
_VERSION_NAMES += ["model_name", "number", "major", "minor", "patch"]


class _VersionRow(SimpleNamespace):
    """What an answer says of a version, read without the sample that is stored beside it."""

    semantic = Version.semantic
    model_reference = Version.model_reference


def _shown(version: FromClause) -> list[ColumnElement[Any]]:
    """A version's columns for `_VersionRow`."""
    probe = version.c.probe
    bits = func.jsonb_build_object("served_as", probe["served_as"], "warnings", probe["warnings"])
    return [*(version.c[name] for name in _VERSION_NAMES), func.jsonb_strip_nulls(bits, type_=probe.type)]


def _version_row(values: Sequence[Any]) -> Any:
    return _VersionRow(**dict(zip([*_VERSION_NAMES, "probe"], values, strict=True)))


def _numbers(pointers: Table, name: str, *conditions: ColumnElement[bool]) -> ScalarSelect[Any]:
    """What points to versions of a model, as one object: name → number."""
    pointed = _VERSION.alias()
    pairs = func.jsonb_object_agg(pointers.c[name], pointed.c.number)
    query = select(func.coalesce(pairs, literal_column("'{}'::jsonb"), type_=_VERSION.c.probe.type))
    query = query.join_from(pointers, pointed, pointed.c.id == pointers.c.version_id)
    return query.where(pointers.c.model_id == _MODEL.c.id, *conditions).correlate(_MODEL).scalar_subquery()


def _select_models() -> Select[Any]:
    newest = select(_VERSION).where(_VERSION.c.model_id == _MODEL.c.id, _VERSION.c.deleted_at.is_(None))
    latest = newest.order_by(_VERSION.c.number.desc()).limit(literal_column("1")).lateral()
    return (
        select(
            *(_MODEL.c[name] for name in _MODEL_NAMES),
            _numbers(_ALIAS, "alias"),
            _numbers(_TENURE, "environment", _TENURE.c.ended_at.is_(None)),
            *_shown(latest),
        )
        .select_from(_MODEL.outerjoin(latest, true()))
        .where(
            _MODEL.c.name == func.any(bindparam("names", type_=ARRAY(Text))), _MODEL.c.deleted_at.is_(None)
        )
        .order_by(_MODEL.c.name)
    )


_MODELS = PreparedRead(_select_models())


async def summarise_models(session: AsyncSession, names: Sequence[str]) -> list[ModelOut]:
    """Those models of these names that exist, by name: each with its newest version and what points where."""
    return [_model_out(row) for row in await _MODELS.rows(session, names=names)]


def _model_out(row: list[Any]) -> ModelOut:
    width = len(_MODEL_NAMES)
    model = dict(zip(_MODEL_NAMES, row, strict=False))
    aliases, champions, version = row[width], row[width + 1], _version_row(row[width + 2 :])
    latest = None
    if version.number is not None:
        latest = VersionOut.of(
            version, _pointing_to(version.number, aliases), _pointing_to(version.number, champions)
        )
    name = model["name"]
    return ModelOut(
        **model, latest=latest, production=_references(name, champions), aliases=_references(name, aliases)
    )


def _pointing_to(number: int, pointers: dict[str, int]) -> list[str]:
    return sorted(name for name, pointed in pointers.items() if pointed == number)


def _references(model: str, pointers: dict[str, int]) -> dict[str, str]:
    return {name: f"{model}:{number}" for name, number in sorted(pointers.items())}


def _gathered(table: Table, order: ColumnElement[Any], *conditions: ColumnElement[bool]) -> ScalarSelect[Any]:
    """All rows of a version in a table, as JSON."""
    rows = func.jsonb_agg(aggregate_order_by(func.to_jsonb(table.table_valued()), order))
    return _of_version(
        table, func.coalesce(rows, literal_column("'[]'::jsonb"), type_=_VERSION.c.probe.type), *conditions
    )


def _of_version(
    table: Table, value: ColumnElement[Any], *conditions: ColumnElement[bool]
) -> ScalarSelect[Any]:
    query = select(value).select_from(table).where(table.c.version_id == _VERSION.c.id, *conditions)
    return query.correlate(_VERSION).scalar_subquery()


def _listed(column: ColumnElement[Any], *conditions: ColumnElement[bool]) -> ScalarSelect[Any]:
    names = func.array_agg(aggregate_order_by(column, column), type_=ARRAY(Text))
    return _of_version(column.table, names, *conditions)


def _select_version(*conditions: ColumnElement[bool]) -> Select[Any]:
    return select(
        _listed(_ALIAS.c.alias),
        _listed(_TENURE.c.environment, _TENURE.c.ended_at.is_(None)),
        _gathered(_FILE, _FILE.c.path, _FILE.c.part == literal_column(f"'{Part.ARTIFACT}'")),
        _gathered(_MOVE, _MOVE.c.id),
        _gathered(_REPORT, _REPORT.c.id.desc()),
        *_shown(_VERSION),
    ).where(_VERSION.c.model_name == bindparam("name"), _VERSION.c.deleted_at.is_(None), *conditions)


_BY_NUMBER = PreparedRead(_select_version(_VERSION.c.number == bindparam("number")))
_BY_SEMANTIC = PreparedRead(
    _select_version(*(_VERSION.c[part] == bindparam(part) for part in ("major", "minor", "patch")))
)
_BY_ALIAS = PreparedRead(
    _select_version(
        _VERSION.c.id
        == select(_ALIAS.c.version_id)
        .where(_ALIAS.c.alias == bindparam("alias"), _ALIAS.c.model_id == _VERSION.c.model_id)
        .correlate(_VERSION)
        .scalar_subquery()
    )
)


async def find_version_whole(session: AsyncSession, wanted: Reference) -> VersionWhole | None:
    """The version that a reference other than a bare name means, with its files, history and gate reports."""
    name, semantic = wanted.name, wanted.semantic
    if wanted.number is not None:
        rows = await _BY_NUMBER.rows(session, name=name, number=wanted.number)
    elif semantic is not None:
        rows = await _BY_SEMANTIC.rows(
            session, name=name, major=semantic.major, minor=semantic.minor, patch=semantic.patch
        )
    else:
        rows = await _BY_ALIAS.rows(session, name=name, alias=wanted.alias)
    return _version_whole(rows[0]) if rows else None


def _version_whole(row: list[Any]) -> VersionWhole:
    aliases, environments, files, moves, reports, *version = row
    shown = VersionOut.of(_version_row(version), aliases or (), environments or ())
    return VersionWhole.assemble(shown, files, moves, reports)
