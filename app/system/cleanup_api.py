"""Clean-up over HTTP."""

from datetime import date, datetime
from typing import Any

from fastapi import Request
from pydantic import ConfigDict, Field

from app.artifacts.errors import StorageUnavailable
from app.core.access import Role, allows, caller_of
from app.core.edge import Db, room
from app.core.problems import problems
from app.core.scope import KeyTooNarrow, for_every_model
from app.core.wire import Incoming, Outgoing
from app.registry.rules import Stage
from app.system.cleanup import Order, clean_up

router = room("/system", "system")


class CleanupOrder(Incoming):
    """What may go."""

    model_config = ConfigDict(json_schema_extra={"example": {"dry_run": True, "keep_versions": 10}})

    dry_run: bool = Field(True, description="Only say what would go.")
    keep_versions: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="How many of each model's newest versions stay; of those beyond, archived and deprecated ones go.",
    )
    older_than_days: float | None = Field(
        None, ge=0, le=36_500, description="Only versions that have been archived or deprecated for so long."
    )


class GoneOut(Outgoing):
    """A version that went, or would go."""

    model_id: str
    stage: Stage
    stage_since: datetime
    size_bytes: int


class KeptOut(Outgoing):
    """A version that stays because somebody needs it."""

    model_id: str
    needed_by: list[str]


class CleanupOut(Outgoing):
    """What went, or would go."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "dry_run": True,
                "versions": [
                    {
                        "model_id": "breast-cancer:1",
                        "stage": "archived",
                        "stage_since": "2025-03-01T12:00:00Z",
                        "size_bytes": 14_233,
                    }
                ],
                "kept": [{"model_id": "breast-cancer:2", "needed_by": ["alias baseline"]}],
                "blobs": ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
                "log_days": ["2024-11-30"],
                "outcome_sums": 288,
                "profiles": 2016,
            }
        }
    )

    dry_run: bool
    versions: list[GoneOut]
    kept: list[KeptOut] = Field(description="Versions that would have gone, but for those who need them.")
    blobs: list[str] = Field(
        description="SHA-256 of files in the artifact store that no version has any more."
    )
    log_days: list[date] = Field(description="Days of the prediction log that are older than it keeps.")
    outcome_sums: int = Field(
        description="Sums of five minutes that go with these days; those of hours and days stay."
    )
    profiles: int = Field(
        description="Profiles of five minutes, or of an hour, that are old enough to be added up: by a job, which a run starts."
    )


@router.post(
    "/cleanup",
    response_model=CleanupOut,
    dependencies=[allows(Role.ADMIN), for_every_model()],
    responses=problems(KeyTooNarrow, StorageUnavailable),
)
async def order_cleanup(order: CleanupOrder, request: Request, database: Db) -> Any:
    """Delete old versions that nobody needs, files that no version has, and old days of the log, and have old profiles added up.

    Never goes what serves, has an alias, is held, or is what a rollback would return to.
    """
    state, caller = request.app.state, caller_of(request)
    return await clean_up(
        database,
        state.store,
        state.settings,
        Order(order.dry_run, order.keep_versions, order.older_than_days),
        caller=caller,
        actor=caller.actor(request.scope["state"].get("request_id")),
    )
