"""Route revisions put together as answers."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.registry.queries import references_of
from app.traffic.queries import state_of
from app.traffic.schemas import ArmOut, RevisionOut, ShadowOut
from app.traffic.tables import Route, RouteRevision


async def answer_revisions(
    session: AsyncSession, route: Route, revisions: Sequence[RouteRevision]
) -> list[RevisionOut]:
    """Revisions with their versions named."""
    states = [state_of(route, revision) for revision in revisions]
    ids = {arm.version_id for state in states for arm in state.arms}
    ids |= {shadow.version_id for state in states for shadow in state.shadows}
    names: dict[UUID, str] = await references_of(session, ids)
    return [
        RevisionOut(
            model=route.model_name,
            environment=route.environment,
            revision=revision.number,
            arms=[
                ArmOut(
                    name=arm.name,
                    model_id=names[arm.version_id],
                    version_id=arm.version_id,
                    weight=arm.weight,
                )
                for arm in state.arms
            ],
            shadows=[
                ShadowOut(model_id=names[shadow.version_id], version_id=shadow.version_id, share=shadow.share)
                for shadow in state.shadows
            ],
            kind=revision.kind,
            reason=revision.reason,
            actor=revision.actor,
            at=revision.at,
        )
        for revision, state in zip(revisions, states, strict=True)
    ]
