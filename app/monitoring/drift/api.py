"""Drift over HTTP."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Query, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.access import Role, allows, caller_of
from app.core.database import Database, Reading
from app.core.edge import Begin, Begins, Db, Reads, room
from app.core.errors import FieldProblem
from app.core.problems import problems
from app.evidence.latest import read_latest
from app.evidence.outcome_windows import Cohort
from app.evidence.windows import Window, read_window, start_of_latest
from app.monitoring import queries
from app.monitoring.drift import actions, slices
from app.monitoring.drift.actions import Seen, Terms
from app.monitoring.drift.cases import Case, case_of
from app.monitoring.drift.groups import mask_groups
from app.monitoring.drift.rules import advise
from app.monitoring.drift.schemas import OF_FALSE_ALARMS, OF_THRESHOLD, DriftCheck, DriftHistory, DriftOut
from app.monitoring.errors import NoGoodRow, NoReferenceYet
from app.monitoring.incoming import (
    REFUSED_TABLES,
    TABLE_BODY,
    Sent,
    count_instances,
    count_table,
    open_reference,
)
from app.monitoring.kinds import Finding
from app.monitoring.parameters import REFUSED_REFERENCES, Environment, ModelId
from app.monitoring.performance.looking import fallen_since
from app.monitoring.queries import Granularity
from app.monitoring.tables import DriftVerdictRow
from app.registry import errors as registry_errors
from app.registry import queries as registry

router = room("/models", "monitoring")


@router.post(
    "/{model_id}/drift-check",
    response_model=DriftOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(*REFUSED_REFERENCES, NoReferenceYet, NoGoodRow, FieldProblem),
)
async def check_drift(
    model_id: ModelId,
    order: DriftCheck,
    request: Request,
    database: Db,
    begin: Begins,
    environment: Environment = "production",
) -> Any:
    """Hold a window of the log, or rows that come along, against the version's reference; the verdict is kept."""
    async with database.reads() as reading:
        case = await _open_case(reading, request, model_id, environment)
        since, until = order.ends(case.watching.window_hours)
        if order.window_rows is not None:
            since = await start_of_latest(
                reading, case.version_id, environment, rows=order.window_rows, until=until, arm=order.arm
            )
        if order.instances is None:
            window = await read_window(
                reading, case.reference, environment=environment, since=since, until=until, arm=order.arm
            )
    if order.instances is None:
        sliced = await _look_at_slices(case, order, request, database, (since, until))
        until = max(until, window.until)  # what was rolled up into an hour is looked at whole
        told = await _judge(case, window, request, begin, order, since=since, until=until)
        return told | {"slices": sliced}
    sent = await count_instances(case.reference, case.version.signature, order.instances)
    return await _judge(case, _window_of(sent), request, begin, order, refused=sent.refused)


@router.post(
    "/{model_id}/drift-check/table",
    response_model=DriftOut,
    openapi_extra=TABLE_BODY,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(*REFUSED_TABLES, NoGoodRow),
)
async def check_table(
    model_id: ModelId,
    request: Request,
    database: Db,
    begin: Begins,
    environment: Environment = "production",
    threshold: Annotated[float | None, Query(gt=0, lt=1, description=OF_THRESHOLD)] = None,
    false_alarm_rate: Annotated[float, Query(gt=0, lt=0.5, description=OF_FALSE_ALARMS)] = 0.05,
) -> Any:
    """The same for the rows of a CSV or Parquet file, whose columns are found by their names."""
    order = DriftCheck(threshold=threshold, false_alarm_rate=false_alarm_rate)
    async with database.reads() as reading:
        case = await _open_case(reading, request, model_id, environment)
    sent = await count_table(request, case.reference, case.version.signature)
    return await _judge(case, _window_of(sent), request, begin, order, refused=sent.refused)


def _window_of(sent: Sent) -> Window:
    now = clock.now()
    return Window(now, now, sent.rows, 0, sent.good)


async def _look_at_slices(
    case: Case, order: DriftCheck, request: Request, database: Database, ends: tuple[datetime, datetime]
) -> dict[str, Any] | None:
    if order.slice_by is None:
        return None
    place, (since, until) = slices.place_in(case, order.slice_by), ends
    version, state = case.version, request.app.state
    async with database.reads() as reading:
        model = await registry.get_model_by_id(reading, version.model_id)
        if order.slice_by in model.sensitive_columns and caller_of(request).role < Role.ADMIN:
            raise FieldProblem(
                "slice_by", f"{order.slice_by!r} is a sensitive column; only an admin may look into it"
            )
        cohort = Cohort(version.id, case.environment, order.arm)
        latest = await read_latest(
            reading, version.model_name, cohort, since=since, until=until, with_features=True
        )
        hours = await slices.find_hours(reading, case, since=since, until=until, arm=order.arm)
    sample = state.store.open_stream(slices.sample_digest(case))
    was = await slices.slice_reference(case, order.slice_by, place, sample, state.prober, hours=hours)
    return await slices.judge_slices(case, was, latest, _terms(order, case))


async def _open_case(reading: Reading, request: Request, model_id: str, environment: str) -> Case:
    version, reference = await open_reference(reading, model_id, environment)
    return await case_of(reading, version, reference, environment, request.app.state.settings)


def _terms(order: DriftCheck, case: Case) -> Terms:
    return Terms(order.threshold or case.watching.drift_threshold, order.false_alarm_rate)


async def _judge(
    case: Case,
    window: Window,
    request: Request,
    begin: Begin,
    order: DriftCheck,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    refused: int = 0,
) -> dict[str, Any]:
    terms = _terms(order, case)
    seen = await actions.look_at(case, window, terms)
    session = await begin()
    fallen = await fallen_since(session, case.version.id, case.environment)
    seen = actions.heed_performance(seen, has_fallen=fallen is not None)
    row = actions.keep_verdict(session, seen, case, terms, since=since, until=until)
    await session.flush()
    answer = _answer(row, seen, case, refused=refused)
    answer["feature_drifts"] = mask_groups(seen.columns, await _hidden_from(request, session, case))
    if fallen is not None:
        answer["recommendations"].append(str(fallen))
    return answer


async def _hidden_from(request: Request, session: AsyncSession, case: Case) -> Collection[str]:
    """The columns whose values a caller may not see."""
    if caller_of(request).role >= Role.ADMIN:
        return ()
    model = await registry.get_model_by_id(session, case.version.model_id)
    hidden: list[str] = model.sensitive_columns
    return hidden


def _answer(row: DriftVerdictRow, seen: Seen, case: Case, *, refused: int) -> dict[str, Any]:
    verdict, is_log, reference = seen.verdict, row.since is not None, case.reference
    return {
        "check_id": row.id,
        "model_id": case.version.model_reference,
        "environment": row.environment,
        "window": {
            "since": row.since, "until": row.until, "rows": row.rows,
            "buckets": seen.window.buckets if is_log else None, "rows_refused": None if is_log else refused,
        },
        "reference": {
            "kind": reference.kind, "rows": reference.rows, "made_at": reference.made_at,
            "in_time": reference.order.in_time, "season": case.known.season if is_log else None,
        },
        "drift_detected": verdict.finding == Finding.DRIFT,
        "finding": verdict.finding,
        "drift_score": verdict.score if row.rows else None,
        "drift_score_interval": (verdict.low, verdict.high) if row.rows else None,
        "threshold": row.threshold,
        "false_alarm_rate": row.false_alarms,
        "effective_rows": verdict.effective_rows,
        "rows_needed": verdict.rows_needed if verdict.finding == Finding.TOO_LITTLE_DATA else 0,
        "recommendation": verdict.recommendation,
        "recommendations": advise(verdict, row.threshold),
        "evidence": {
            "columns_tested": len(seen.columns),
            "columns_drifted": len(verdict.drifted),
            "smallest_p_value": min((each.p_value for each in verdict.columns), default=1.0),
            "buckets_learnt": case.known.buckets,
            "features_to_look_at": [each.column.name for each in verdict.drifted[:5]],
        },
    }  # fmt: skip


@router.get(
    "/{model_id}/drift-history",
    response_model=DriftHistory,
    dependencies=[allows(Role.VIEWER)],
    responses=problems(registry_errors.BadReference, registry_errors.ModelNotFound),
)
async def get_drift_history(
    model_id: ModelId,
    session: Reads,
    days: Annotated[int, Query(ge=1, le=400)] = 30,
    granularity: Granularity = "day",
    environment: Environment = "production",
) -> Any:
    """The drift that checks of the log found, by hour or day."""
    model = await registry.get_model(session, registry.read_reference(model_id).name)
    since = clock.now() - timedelta(days=days)
    items = await queries.drift_history(
        session, model.id, environment=environment, since=since, granularity=granularity
    )
    return {"model": model.name, "environment": environment, "granularity": granularity, "items": items}
