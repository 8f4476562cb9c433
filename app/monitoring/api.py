"""How models are watched, over HTTP."""

from typing import Any

from fastapi import Request

from app.core.access import Role, allows
from app.core.edge import Reads, Writes, room
from app.core.problems import problems
from app.monitoring import actions, queries
from app.monitoring.parameters import ModelId
from app.monitoring.schemas import MonitorOrder, MonitorOut
from app.registry import errors as registry_errors
from app.registry import queries as registry

router = room("/models", "monitoring")


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
    """Say how a model is watched from now on; what is left out stays as it is."""
    model = await registry.get_model(session, registry.read_reference(model_id).name)
    before = await queries.watching_of(session, model.id, request.app.state.settings)
    changes = order.model_dump(exclude_none=True)
    watching = await actions.set_monitor(session, model.id, model.name, before, **changes)
    return {"model": model.name, **vars(watching)}
