"""Where a version came from, and where it went."""

from typing import Annotated, Any

from fastapi import Path, Request
from pydantic import Field

from app.core.access import Role, allows, caller_of
from app.core.edge import Reads, room
from app.core.problems import problems
from app.core.wire import Outgoing
from app.registry import errors as registry_errors
from app.registry.schemas import FileOut
from app.system.records import (
    CountOut,
    DeploymentBrief,
    RouteBrief,
    TenureOut,
    deployments_of,
    read_record,
    routes_of,
)

router = room("/models", "models")
ModelId = Annotated[
    str, Path(description="`name`, `name:3`, `name:2.1.0` or `name@alias`", examples=["breast-cancer:1"])
]
REFUSED = (
    registry_errors.BadReference,
    registry_errors.ModelNotFound,
    registry_errors.VersionNotFound,
    registry_errors.NoProductionVersion,
)


class OriginOut(Outgoing):
    """What a version was made from."""

    source_run: str | None
    code_revision: str | None
    dataset_version: str | None
    dataset_hash: str | None
    pipeline_execution: str | None
    creator: str
    ancestors: list[str] = Field(description="The versions that it was made from, the nearest first.")


class UseOut(Outgoing):
    """What became of a version."""

    children: list[str] = Field(description="The versions that were made from it.")
    aliases: list[str]
    routes: list[RouteBrief]
    deployments: list[DeploymentBrief]
    tenures: list[TenureOut]
    predictions: CountOut


class LineageOut(Outgoing):
    """A version between what it was made from and what became of it."""

    model_id: str
    artifact_digest: str
    files: list[FileOut]
    origin: OriginOut
    use: UseOut


@router.get(
    "/{model_id}/lineage",
    response_model=LineageOut,
    dependencies=[allows(Role.VIEWER)],
    responses=problems(*REFUSED),
)
async def trace_lineage(model_id: ModelId, request: Request, session: Reads) -> Any:
    """Back to run, code, data and parent versions; forward to children, routes, deployments and predictions."""
    caller = caller_of(request)
    record = await read_record(session, model_id, caller)
    version = record.version
    return {
        "model_id": version.model_id,
        "artifact_digest": version.artifact_digest,
        "files": version.files,
        "origin": version.model_dump() | {"ancestors": record.ancestors},
        "use": {
            "children": record.children,
            "aliases": version.aliases,
            "routes": await routes_of(session, version.model_id),
            "deployments": await deployments_of(session, caller, version),
            "tenures": record.tenures,
            "predictions": record.predictions,
        },
    }
