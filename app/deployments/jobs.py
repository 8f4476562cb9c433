"""The durable work of deployments."""

from uuid import UUID

from app.core.database import Actor
from app.core.errors import Refusal
from app.core.jobs import WORKER, Claim, TryAgain
from app.deployments.actions import ADVANCE, advance_deployment, fail_deployment
from app.deployments.queries import get_deployment, lock_deployment

LOOK_AGAIN_SECONDS = 1.0


async def advance(claim: Claim) -> None:
    """Take a deployment further; it is looked at again when a replica has prepared, and once a second."""
    deployment_id = UUID(claim.payload["deployment_id"])
    async with claim.database.reads() as reading:
        started = await get_deployment(reading, deployment_id)
    actor = Actor(started.actor, started.role)
    try:
        async with claim.database.writes(actor) as session:
            settled = await advance_deployment(session, deployment_id)
    except Refusal as refusal:
        async with claim.database.writes(WORKER) as session:
            await fail_deployment(session, await lock_deployment(session, deployment_id), str(refusal))
        return
    if not settled:
        raise TryAgain(LOOK_AGAIN_SECONDS)


HANDLERS = {ADVANCE: advance}
