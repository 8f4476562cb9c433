"""A version that is watched, what it is held against, and how."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import Settings
from app.evidence.windows import Reference, find_reference
from app.monitoring.drift.known import Known, find_known
from app.monitoring.queries import Watching, find_watch, watching_of


@dataclass(frozen=True)
class Case:
    """One version in one environment."""

    version: Any
    environment: str
    watching: Watching
    known: Known

    @property
    def reference(self) -> Reference:
        """What its rows are held against."""
        return self.known.reference

    @property
    def importances(self) -> dict[str, float]:
        """Of its inputs, as far as the model tells."""
        return self.version.probe.get("feature_importances") or {}

    @property
    def version_id(self) -> UUID:
        """Of the version."""
        found: UUID = self.version.id
        return found


async def find_case(session: AsyncSession, version: Any, environment: str, settings: Settings) -> Case | None:
    """The case of a version; None while there is nothing that it could be held against."""
    reference = await find_reference(session, version.id)
    if reference is None:
        return None
    return await case_of(session, version, reference, environment, settings)


async def case_of(
    session: AsyncSession, version: Any, reference: Reference, environment: str, settings: Settings
) -> Case:
    """The case of a version whose reference is known."""
    watching = await watching_of(session, version.model_id, settings)
    watch = await find_watch(session, version.id, environment)
    return Case(version, environment, watching, await find_known(session, reference, environment, watch))
