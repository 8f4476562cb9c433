"""What a change of who is in production finds: all of it read in one statement, with the versions locked."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.prepared import PreparedTogether
from app.core.replicas import LACKING, Lacking, live_since
from app.deployments.queries import OPEN
from app.registry.succession import CONTENDERS, Contenders, tell_contenders
from app.traffic.queries import CURRENT, RouteState, state_from

_SCENE = PreparedTogether(OPEN, CONTENDERS, LACKING, CURRENT)


@dataclass(frozen=True)
class Scene:
    """Who reigns, who is to follow, and what stands in between."""

    rival_id: UUID | None
    """A deployment that is under way."""
    contenders: Contenders
    lacking: list[Lacking]
    """The live replicas that don't hold the version ready."""
    route: RouteState | None

    @property
    def revision(self) -> int:
        """That of the route; 0 where nothing ever answered."""
        return self.route.revision if self.route else 0


async def read_scene(session: AsyncSession, model_id: UUID, version_id: UUID, environment: str) -> Scene:
    """What a deployment of a version finds; nobody else can move it or the one in production until this transaction ends.

    Raises:
        VersionNotFound: the version was deleted.
    """
    rivals, contenders, lacking, route = await _SCENE.rows(
        session, model_id=model_id, version_id=version_id, environment=environment, live_since=live_since()
    )
    return Scene(
        rivals[0][0] if rivals else None,
        await tell_contenders(session, contenders, version_id),
        [Lacking(*row) for row in lacking],
        state_from(route[0]) if route else None,
    )
