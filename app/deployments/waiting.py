"""Waiting, within a request's patience, for a deployment to settle."""

import asyncio
from contextlib import suppress
from uuid import UUID

from app.core.database import Database
from app.core.notify import Notifications
from app.deployments.actions import SETTLED
from app.deployments.queries import get_deployment
from app.deployments.rules import Phase
from app.deployments.schemas import DeploymentOut


class SettledDeployments:
    """Tells requests of this process when the deployments that they started have settled."""

    def __init__(self, database: Database, notifications: Notifications) -> None:
        self._database = database
        self._told = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        notifications.on(SETTLED, self._hear)

    def _hear(self, _deployment_id: str) -> None:
        task = asyncio.ensure_future(self._tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self) -> None:
        async with self._told:
            self._told.notify_all()

    async def wait(self, deployment_id: UUID, patience_seconds: float) -> DeploymentOut:
        """The deployment as it is when it has settled, or when patience ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds), self._told:
                while (await self._read(deployment_id)).phase == Phase.PREPARING:
                    await self._told.wait()
        return await self._read(deployment_id)

    async def _read(self, deployment_id: UUID) -> DeploymentOut:
        async with self._database.reads() as session:
            return DeploymentOut.of(await get_deployment(session, deployment_id))
