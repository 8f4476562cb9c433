"""What the evidence can be asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    DateTime,
    Row,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    func,
    literal,
    select,
    true,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.ids import time_of
from app.evidence.errors import PredictionNotFound
from app.evidence.rules import DETECTED, Target, merge_targets, time_in
from app.evidence.tables import OutcomeRow, PredictionRow
from app.registry import queries as registry
from app.registry import search

MOST_VERSIONS = 1000
LATEST_ROWS = 5000
"""Of a model, to tell how it answers: a share of 5 % is known to half a per cent, and 5,000 rows are read in 10 ms."""


@dataclass(frozen=True)
class LogFilters:
    """What a list of predictions is narrowed to."""

    id: UUID | None = None
    version: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    arm: str | None = None
    caller: str | None = None
    shadow: bool | None = None
    entity_id: str | None = None
    labelled: bool | None = None


_OUTCOME = and_(
    OutcomeRow.at == PredictionRow.at,
    OutcomeRow.prediction_id == PredictionRow.id,
    OutcomeRow.model == PredictionRow.model,
)


def select_predictions(model: str, filters: LogFilters) -> Select[PredictionRow]:
    """A model's predictions, newest first, that meet every filter given."""
    query = select(PredictionRow).where(PredictionRow.model == model)
    for column in (PredictionRow.version, PredictionRow.arm, PredictionRow.caller, PredictionRow.shadow,
                   PredictionRow.entity_id):  # fmt: skip
        wanted = getattr(filters, column.key)
        if wanted is not None:
            query = query.where(column == wanted)
    if filters.id is not None:
        query = query.where(PredictionRow.at == time_in(filters.id), PredictionRow.id == filters.id)
    if filters.since is not None:
        query = query.where(PredictionRow.at >= filters.since)
    if filters.until is not None:
        query = query.where(PredictionRow.at < filters.until)
    if filters.labelled is not None:
        has_outcome = select(OutcomeRow.at).where(_OUTCOME).exists()
        query = query.where(has_outcome if filters.labelled else ~has_outcome)
    return query.order_by(PredictionRow.at.desc(), PredictionRow.id.desc())


def page_after(query: Select[PredictionRow], last: UUID | None, limit: int) -> Select[PredictionRow]:
    """The rows of a list that follow a prediction; the bound on its time alone keeps newer days out of the plan."""
    if last is not None:
        last_at = time_of(last)
        follows = tuple_(PredictionRow.at, PredictionRow.id) < tuple_(last_at, last)
        query = query.where(PredictionRow.at <= last_at, follows)
    return query.limit(limit + 1)


async def get_prediction(session: AsyncSession, model: str, prediction_id: UUID) -> PredictionRow:
    """One prediction of a model.

    Raises:
        PredictionNotFound: the log has none of this id, or it is another model's.
    """
    prediction: PredictionRow | None = await session.scalar(
        select_predictions(model, LogFilters(id=prediction_id))
    )
    if prediction is None:
        raise PredictionNotFound(str(prediction_id))
    return prediction


async def outcomes_of(
    session: AsyncSession, predictions: Sequence[PredictionRow | Row[Any]]
) -> dict[UUID, Row[Any]]:
    """What turned out to be true of some predictions, as far as it is known; one look-up by key for each."""
    if not predictions:
        return {}
    models = {row.id: row.model for row in predictions}
    times = [row.at for row in predictions]
    bounds = {"first": min(times), "last": max(times)}
    outcomes = await session.execute(_OUTCOMES_OF, {"ids": [*models], "times": times, **bounds})
    return {row.prediction_id: row for row in outcomes if row.model == models[row.prediction_id]}


_GIVEN = (
    func.unnest(bindparam("ids", type_=ARRAY(Uuid)), bindparam("times", type_=ARRAY(DateTime(timezone=True))))
    .table_valued("id", "at")
    .render_derived(name="given")
)
_OUTCOMES_OF = (
    select(*OutcomeRow.__table__.columns)
    .join(_GIVEN, and_(OutcomeRow.at == _GIVEN.c.at, OutcomeRow.prediction_id == _GIVEN.c.id))
    .where(OutcomeRow.at.between(bindparam("first"), bindparam("last")))
)
"""Made once: a statement is a knot of cycles that keeps its values, and an export asks it for every hundred rows;
to collect what three hundred of them left would stop everybody for 90 ms."""


@dataclass(frozen=True)
class Answered:
    """How a model answered for a while; rows that a sample stands for are counted with it."""

    rows: int
    error_share: float
    latency_ms_p95: float


async def summarise_answers(session: AsyncSession, since: datetime, until: datetime) -> dict[str, Answered]:
    """How each model that was asked from one time to another answered its callers; shadows are left out.

    Of each model the latest rows tell: who is asked ten thousand times a second is not read through every minute.
    """
    names = await registry.list_names(session)
    model = func.unnest(literal([*names], ARRAY(Text))).table_valued("name").render_derived(name="given")
    latest = (
        select(PredictionRow.log_probability, PredictionRow.error, PredictionRow.latency_ms)
        .where(PredictionRow.model == model.c.name, PredictionRow.at >= since, PredictionRow.at < until)
        .where(~PredictionRow.shadow)
        .order_by(PredictionRow.at.desc())
        .limit(LATEST_ROWS)
        .lateral("latest")
    )
    weight = 1 / latest.c.log_probability
    failed = func.coalesce(func.sum(weight).filter(latest.c.error.is_not(None)), 0.0)
    slow = func.percentile_cont(0.95).within_group(latest.c.latency_ms)
    query = select(model.c.name, func.count(), failed / func.sum(weight), slow)
    rows = await session.execute(query.join_from(model, latest, true()).group_by(model.c.name))
    return {name: Answered(count, share, latency_ms) for name, count, share, latency_ms in rows}


async def target_of(session: AsyncSession, model_id: UUID) -> Target:
    """What the true answers of a model look like, after all of its versions."""
    versions = search.select_versions(model_id, search.Filters(), None, MOST_VERSIONS).subquery()
    signature = versions.c.signature
    parts = (signature["classes"], signature["output"].as_string(), signature["task"].as_string())
    told = (await session.execute(select(*parts).order_by(versions.c.number.desc()))).all()
    if told and all((output, task) == ("integer", "anomaly") for _, output, task in told):
        return DETECTED
    return merge_targets((classes, output) for classes, output, _ in told)


async def signatures_of(
    session: AsyncSession, model_id: UUID, *, number: int | None = None
) -> list[dict[str, Any]]:
    """The signatures of a model's versions, newest first, or that of one version."""
    versions = await session.scalars(search.select_versions(model_id, search.Filters(), None, MOST_VERSIONS))
    return [version.signature for version in versions if number in (None, version.number)]


async def column_names(session: AsyncSession, version_id: UUID) -> list[str]:
    """The columns that a version takes, in the order of its signature."""
    version = await registry.get_version_by_id(session, version_id)
    return [column["name"] for column in version.signature["inputs"]]
