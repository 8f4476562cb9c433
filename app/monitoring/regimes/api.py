"""Regime monitors over HTTP."""

from typing import Annotated, Any

from fastapi import Path, status

from app.core.access import Role, allows
from app.core.edge import Reads, Writes, room
from app.core.errors import FieldProblem
from app.core.paging import Page, Paged
from app.core.problems import problems
from app.evidence.series import Series
from app.monitoring.errors import (
    NoReferenceYet,
    NoSuchSeries,
    RegimeMonitorExists,
    RegimeMonitorNotFound,
    SeriesNotPosted,
)
from app.monitoring.kinds import SeriesKind, SeriesMetric
from app.monitoring.parameters import ModelId
from app.monitoring.queries import no_reference_yet
from app.monitoring.regimes import following as regimes
from app.monitoring.regimes.schemas import (
    MonitorName,
    RegimeChangeOut,
    RegimeMonitorOut,
    RegimeOrder,
    ValuesOrder,
    ValuesOut,
)
from app.registry import errors as registry_errors
from app.registry import queries as registry

router = room("/models", "monitoring")
NO_MODEL = (registry_errors.BadReference, registry_errors.ModelNotFound)
Name = Annotated[MonitorName, Path(examples=["latency"])]
PostedName = Annotated[MonitorName, Path(description="A series of kind `posted`.", examples=["orders"])]


async def _model(session: Any, model_id: str) -> Any:
    return await registry.get_model(session, registry.read_reference(model_id).name)


@router.post(
    "/{model_id}/regimes",
    status_code=status.HTTP_201_CREATED,
    response_model=RegimeMonitorOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(
        *NO_MODEL,
        registry_errors.VersionNotFound,
        registry_errors.NoProductionVersion,
        RegimeMonitorExists,
        NoSuchSeries,
        FieldProblem,
        NoReferenceYet,
    ),
)
async def make_regime_monitor(model_id: ModelId, order: RegimeOrder, session: Writes) -> Any:
    """Follow a series of the model, and tell when its level or its volatility changes."""
    model = await _model(session, model_id)
    if order.kind == SeriesKind.COLUMN:
        await _require_numbers(session, model_id, order)
    elif order.kind == SeriesKind.METRIC and order.source not in [*SeriesMetric]:
        raise NoSuchSeries(order.source, [*SeriesMetric])
    elif order.kind == SeriesKind.POSTED and order.source is not None:
        raise FieldProblem("source", "must be left out: a posted series is what you send")
    terms = regimes.Terms(order.name, order.kind, order.source, order.environment, order.mean_run)
    return await regimes.make_monitor(session, model.id, model.name, terms)


async def _require_numbers(session: Any, model_id: str, order: RegimeOrder) -> None:
    """Make sure that the version that answers has profiles with a column of numbers of this name."""
    version = await registry.get_version(session, model_id, order.environment)
    places = await Series().places(session, version.id)
    if not places:
        raise await no_reference_yet(session, version)
    if places.get(str(order.source)) is None:
        raise NoSuchSeries(order.source, [name for name, place in places.items() if place is not None])


@router.get(
    "/{model_id}/regimes",
    response_model=Page[RegimeMonitorOut],
    dependencies=[allows(Role.VIEWER)],
    responses=problems(*NO_MODEL),
)
async def list_regime_monitors(model_id: ModelId, session: Reads, paging: Paged) -> Any:
    """The model's regime monitors by name, each with the regime that its series is in."""
    model = await _model(session, model_id)
    found = (await session.scalars(regimes.select_monitors(model.id, paging.after, paging.limit))).all()
    monitors, following = paging.cut(found, lambda monitor: monitor.name)
    return {"items": monitors, "next": following}


@router.get(
    "/{model_id}/regimes/{name}",
    response_model=RegimeMonitorOut,
    dependencies=[allows(Role.VIEWER)],
    responses=problems(*NO_MODEL, RegimeMonitorNotFound),
)
async def get_regime(model_id: ModelId, name: Name, session: Reads) -> Any:
    """Which regime a series is in, and since when."""
    model = await _model(session, model_id)
    return await regimes.get_monitor(session, model.id, model.name, name)


@router.get(
    "/{model_id}/regimes/{name}/changes",
    response_model=Page[RegimeChangeOut],
    dependencies=[allows(Role.VIEWER)],
    responses=problems(*NO_MODEL, RegimeMonitorNotFound),
)
async def list_regime_changes(model_id: ModelId, name: Name, session: Reads, paging: Paged) -> Any:
    """The changes of regime that were found, the latest first."""
    model = await _model(session, model_id)
    monitor = await regimes.get_monitor(session, model.id, model.name, name)
    found = (await session.scalars(regimes.select_changes(monitor.id, paging.after, paging.limit))).all()
    changes, following = paging.cut(found, lambda change: str(change.id))
    return {"items": changes, "next": following}


@router.post(
    "/{model_id}/regimes/{name}/values",
    response_model=ValuesOut,
    dependencies=[allows(Role.CALLER)],
    responses=problems(*NO_MODEL, RegimeMonitorNotFound, SeriesNotPosted),
)
async def post_values(model_id: ModelId, name: PostedName, order: ValuesOrder, session: Writes) -> Any:
    """Follow a posted series on. Each time counts once: what was sent before is `repeated`, what comes too late `late`."""
    model = await _model(session, model_id)
    monitor = await regimes.get_monitor(session, model.id, model.name, name, locked=True)
    if monitor.kind != SeriesKind.POSTED:
        raise SeriesNotPosted(monitor.name, str(monitor.source))
    taken = await regimes.take_values(session, monitor, [(item.at, item.value) for item in order.items])
    return {**vars(taken), "monitor": monitor}


@router.delete(
    "/{model_id}/regimes/{name}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(*NO_MODEL, RegimeMonitorNotFound),
)
async def remove_regime_monitor(model_id: ModelId, name: Name, session: Writes) -> None:
    """Follow a series no more, and forget what was seen of it."""
    model = await _model(session, model_id)
    await regimes.remove_monitor(session, model.id, model.name, name)
