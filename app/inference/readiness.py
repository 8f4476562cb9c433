"""Whether this process can answer for all models, and for one."""

from collections.abc import Collection
from uuid import UUID

from starlette.datastructures import State
from starlette.requests import Request

from app.core.health import Condition
from app.registry.queries import PRODUCTION, get_version
from app.runtimes.cache import Phase


async def find_obstacles(state: State) -> list[str]:
    """Why requests should go elsewhere; empty when they should not. Without any route nothing has to be loaded."""
    parts = await state.health.look()
    blocking = [
        f"{name}: {part.reason}"
        for name, part in parts.items()
        if part.blocks_traffic and part.condition != Condition.OK
    ]
    draining = ["this process is about to end"] if state.health.draining else []
    return draining + blocking + _missing_models(state)


def _missing_models(state: State) -> list[str]:
    states = state.models.states()
    missing = []
    for route in state.routes.all():
        known = [states.get(version_id) for version_id in route.version_ids]
        waiting = [version for version in known if version is None or version.phase != Phase.READY]
        if waiting:
            reasons = {
                version.reason or version.phase.value if version else "not loaded" for version in waiting
            }
            missing.append(f"model {route.model} in {route.environment}: {', '.join(sorted(reasons))}")
    return missing


async def find_model_obstacle(request: Request, reference: str) -> str | None:
    """Why a model can't answer now, if so; one that is not in memory can, for its first request has it loaded.

    Raises:
        BadReference, ModelNotFound, VersionNotFound, NoProductionVersion: there is no such model to answer.
    """
    states = request.app.state.models.states()
    for version_id in await _answering(request, reference):
        state = states.get(version_id)
        if state is not None and state.phase != Phase.READY:
            return f"{reference} is {state.phase}{state.reason and ': '}{state.reason}"
    return None


async def _answering(request: Request, reference: str) -> Collection[UUID]:
    """The versions that requests under a reference go to."""
    route = request.app.state.routes.find(reference, PRODUCTION)
    if route is not None:
        return {route.find_arm(name).version_id for name in route.arm_names}
    async with request.app.state.database.reads() as session:
        return {(await get_version(session, reference)).id}
