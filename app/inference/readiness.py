"""Whether this process can answer for all models, and for one."""

from collections.abc import Collection
from uuid import UUID

from starlette.requests import Request

from app.core.health import Condition, Health, is_draining
from app.registry.queries import PRODUCTION, get_version
from app.runtimes.cache import Phase


async def find_obstacles(request: Request) -> list[str]:
    """Why requests should go elsewhere; empty when they should not."""
    health: Health = request.app.state.health
    parts = await health.look()
    blocking = [
        f"{name}: {part.reason}"
        for name, part in parts.items()
        if part.blocks_traffic and part.condition != Condition.OK
    ]
    return [*blocking, "this process is shutting down"] if is_draining(request.scope) else blocking


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
