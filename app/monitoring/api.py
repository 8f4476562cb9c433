"""Monitoring over HTTP."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Path, Query, Request
from pydantic import AfterValidator

from app.core import clock
from app.core.access import Role, allows
from app.core.config import Settings
from app.core.edge import Begins, Db, Reads, Writes, room
from app.core.problems import problems
from app.core.wire import storable
from app.evidence.planning import FIRST_ROWS
from app.evidence.windows import Reference, find_reference, read_window
from app.monitoring import actions, queries
from app.monitoring.actions import Seen, Subject, Terms
from app.monitoring.errors import NoGoodRow, NoReferenceYet
from app.monitoring.incoming import Sent, profile_instances
from app.monitoring.queries import Granularity, Watching
from app.monitoring.rules import Finding, advise
from app.monitoring.schemas import DriftCheck, DriftHistory, DriftOut, MonitorOrder, MonitorOut
from app.monitoring.tables import DriftVerdictRow
from app.registry import errors as registry_errors
from app.registry import queries as registry

router = room("/models", "monitoring")
ModelId = Annotated[
    str, Path(description="`name`, `name:3`, `name:2.1.0` or `name@alias`", examples=["breast-cancer"])
]
Environment = Annotated[str, AfterValidator(storable), Query(max_length=128)]
REFUSED_REFERENCES = (
    registry_errors.BadReference,
    registry_errors.ModelNotFound,
    registry_errors.VersionNotFound,
    registry_errors.NoProductionVersion,
)


@router.post(
    "/{model_id}/drift-check",
    response_model=DriftOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(*REFUSED_REFERENCES, NoReferenceYet, NoGoodRow),
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
    settings: Settings = request.app.state.settings
    async with database.reads() as reading:
        version = await registry.get_version(reading, model_id, environment)
        watching = await queries.watching_of(reading, version.model_id, settings)
        reference = await find_reference(reading, version.id)
        if reference is None:
            raise NoReferenceYet(version.model_reference, FIRST_ROWS)
        since, until = _ends(order, watching)
        if order.instances is None:
            window = await read_window(
                reading, reference, environment=environment, since=since, until=until, arm=order.arm
            )
            sent = Sent(window)
    if order.instances is not None:
        sent = await profile_instances(reference, version.signature, order.instances)
    subject = Subject(
        version.model_id,
        version.id,
        version.number,
        environment,
        version.probe.get("feature_importances") or {},
    )
    terms = Terms(order.threshold or watching.drift_threshold, order.false_alarm_rate)
    seen = await actions.look_at(reference, sent.window, subject, terms)
    session = await begin()
    is_log = order.instances is None
    row = actions.keep_verdict(
        session, seen, subject, terms, since=since if is_log else None, until=until if is_log else None
    )
    await session.flush()
    return _answer(row, seen, reference, version.model_reference, refused=sent.refused)


def _ends(order: DriftCheck, watching: Watching) -> tuple[datetime, datetime]:
    until = order.until or clock.now()
    hours = order.window_hours or watching.window_hours
    return order.since or until - timedelta(hours=hours), until


def _answer(
    row: DriftVerdictRow, seen: Seen, reference: Reference, model_reference: str, *, refused: int
) -> dict[str, Any]:
    verdict, is_log = seen.verdict, row.since is not None
    return {
        "check_id": row.id,
        "model_id": model_reference,
        "environment": row.environment,
        "window": {
            "since": row.since, "until": row.until, "rows": row.rows,
            "buckets": seen.window.buckets if is_log else None, "rows_refused": refused,
        },
        "reference": reference,
        "drift_detected": verdict.finding == Finding.DRIFT,
        "finding": verdict.finding,
        "drift_score": verdict.score,
        "drift_score_interval": (verdict.low, verdict.high),
        "threshold": row.threshold,
        "false_alarm_rate": row.false_alarms,
        "rows_needed": verdict.rows_needed if verdict.finding == Finding.TOO_LITTLE_DATA else 0,
        "feature_drifts": seen.columns,
        "recommendation": verdict.recommendation,
        "recommendations": advise(verdict, row.threshold),
        "evidence": {
            "columns_tested": len(verdict.columns),
            "columns_drifted": len(verdict.drifted),
            "smallest_p_value": min((each.p_value for each in verdict.columns), default=1.0),
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
    since = queries.days_before(clock.now(), days)
    items = await queries.drift_history(
        session, model.id, environment=environment, since=since, granularity=granularity
    )
    return {"model": model.name, "environment": environment, "granularity": granularity, "items": items}


@router.get(
    "/{model_id}/monitor",
    response_model=MonitorOut,
    dependencies=[allows(Role.VIEWER)],
    responses=problems(registry_errors.BadReference, registry_errors.ModelNotFound),
)
async def get_monitor(model_id: ModelId, request: Request, session: Reads) -> Any:
    """How a model is watched."""
    model = await registry.get_model(session, registry.read_reference(model_id).name)
    watching = await queries.watching_of(session, model.id, request.app.state.settings)
    return {"model": model.name, **vars(watching)}


@router.put(
    "/{model_id}/monitor",
    response_model=MonitorOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(registry_errors.BadReference, registry_errors.ModelNotFound),
)
async def set_monitor(model_id: ModelId, order: MonitorOrder, request: Request, session: Writes) -> Any:
    """Say how a model is watched from now on."""
    model = await registry.get_model(session, registry.read_reference(model_id).name)
    await actions.set_monitor(session, model.id, model.name, **order.model_dump())
    watching = await queries.watching_of(session, model.id, request.app.state.settings)
    return {"model": model.name, **vars(watching)}
