"""Models and versions over HTTP."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Path, Query, Request, Response, status
from starlette.responses import StreamingResponse

from app.artifacts.store import ArtifactStore
from app.core.access import Role, allows, caller_of, require_sight
from app.core.edge import Begins, Reads, Writes, claim_receipt, room, shortcut
from app.core.paging import Page, Paged
from app.core.problems import problems
from app.registry import actions, answers, errors, lifecycle, queries, search, shortcuts
from app.registry.files import keep_blobs
from app.registry.filters import Filtered
from app.registry.gates import Gatekeeper
from app.registry.intake import Intake
from app.registry.registration import RemoteRegistration, open_registration
from app.registry.rules import Stage
from app.registry.schemas import (
    AliasTarget,
    ModelChanges,
    ModelOut,
    StageChange,
    ValidationOrder,
    VersionOut,
    VersionWhole,
)
from app.registry.summaries import summarise_models
from app.registry.tables import Version, VersionFile

router = room("/models", "models")
ModelId = Annotated[
    str, Path(description="`name`, `name:3`, `name:2.1.0` or `name@alias`", examples=["breast-cancer:1"])
]
MULTIPART = {
    "type": "object",
    "required": ["metadata", "artifact"],
    "properties": {
        "metadata": {"type": "string", "contentMediaType": "application/json"},
        "artifact": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "reference": {
            "type": "string",
            "format": "binary",
            "description": "A sample of the training rows, CSV or Parquet",
        },
        "evaluation": {
            "type": "string",
            "format": "binary",
            "description": "Held-out rows with `target`, CSV or Parquet",
        },
    },
}
REGISTRATION = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": MULTIPART},
            "application/json": {"schema": RemoteRegistration.model_json_schema()},
        },
    }
}
REFUSED_REFERENCES = (errors.BadReference, errors.ModelNotFound, errors.VersionNotFound)


async def _intake(request: Request) -> Intake:  # FastAPI runs what is not `async` in a thread
    intake: Intake = request.app.state.intake
    return intake


async def _gatekeeper(request: Request) -> Gatekeeper:
    gatekeeper: Gatekeeper = request.app.state.gatekeeper
    return gatekeeper


Takes = Annotated[Intake, Depends(_intake)]
Guards = Annotated[Gatekeeper, Depends(_gatekeeper)]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=VersionOut,
    openapi_extra=REGISTRATION,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(errors.BadModelName, errors.NameTooClose, errors.SemanticVersionTaken),
)
@router.post(
    "/register",
    status_code=201,
    response_model=VersionOut,
    include_in_schema=False,
    dependencies=[allows(Role.OPERATOR)],
)
async def register_version(request: Request, session: Writes, intake: Takes) -> Any:
    """Register a version: its files, what they need, and what its maker says of it."""
    caller, settings = caller_of(request), request.app.state.settings
    async with open_registration(request, settings) as registration:
        require_sight(caller, registration.details.name)
        draft = await intake.draft(registration, creator=caller.name)
    await claim_receipt(request, session, registration.identity + draft.artifact_digest.encode())
    await keep_blobs(session, request.app.state.store, draft.digests)
    version = await actions.register_version(session, registration.details.name, draft)
    location = {"Location": f"/api/models/{version.model_reference}"}
    return await answers.answer_version(session, version, status.HTTP_201_CREATED, location)


@router.get("", response_model=Page[ModelOut], dependencies=[allows(Role.VIEWER)])
@shortcut(shortcuts.list_all_models)
async def list_models(request: Request, session: Reads, paging: Paged, filters: Filtered) -> Any:
    """Models by name, of which some version meets every filter."""
    query = search.select_models(caller_of(request), filters, paging.after, paging.limit)
    names = [model.name for model in await session.scalars(query)]
    return shortcuts.answer_models(paging, await summarise_models(session, names))


@router.get(
    "/{model_id}",
    response_model=VersionWhole | ModelOut,
    dependencies=[allows(Role.VIEWER)],
    responses=problems(*REFUSED_REFERENCES),
)
@shortcut(shortcuts.find_model)
async def get_model(model_id: ModelId, session: Reads) -> Any:
    """A model by its name, or one version of it, whole, by any other reference."""
    reference = queries.read_reference(model_id)
    if reference.is_bare:
        return await answers.answer_model(session, reference.name)
    return await answers.answer_version_whole(session, reference)


@router.get(
    "/{model_id}/versions",
    response_model=Page[VersionOut],
    dependencies=[allows(Role.VIEWER)],
    responses=problems(errors.ModelNotFound),
)
async def list_versions(model_id: ModelId, session: Reads, paging: Paged, filters: Filtered) -> Any:
    """A model's versions, newest first."""
    model = await queries.get_model(session, queries.read_reference(model_id).name)
    query = search.select_versions(model.id, filters, paging.after, paging.limit)
    rows = (await session.scalars(query)).all()
    versions, following = paging.cut(rows, lambda version: version.number)
    return await answers.answer_versions(session, versions, following)


@router.patch(
    "/{model_id}",
    response_model=VersionOut | ModelOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(*REFUSED_REFERENCES, errors.NotOfAVersion),
)
async def edit_model(model_id: ModelId, changes: ModelChanges, session: Writes) -> Any:
    """Change what is said of a model (and how it is logged and gated), or the words about one version."""
    reference = queries.read_reference(model_id)
    given = changes.model_dump(include=changes.model_fields_set)
    if reference.is_bare:
        await actions.edit_model(session, reference.name, given)
        return await answers.answer_model(session, reference.name)
    version = await queries.get_version(session, reference)
    edited = await actions.edit_version(session, version.id, given)
    return await answers.answer_version(session, edited)


@router.delete(
    "/{model_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[allows(Role.ADMIN)],
    responses=problems(*REFUSED_REFERENCES, errors.StillNeeded),
)
async def delete_model(model_id: ModelId, session: Writes) -> None:
    """Delete one version, or a whole model by its name; refused while it serves, is aliased or is held."""
    reference = queries.read_reference(model_id)
    if reference.is_bare:
        await lifecycle.delete_model(session, reference.name)
    else:
        version = await queries.get_version(session, reference)
        await lifecycle.delete_version(session, version.id)


@router.put(
    "/{model_id}/aliases/{alias}",
    response_model=VersionOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(*REFUSED_REFERENCES, errors.BadAlias),
)
async def set_alias(model_id: ModelId, alias: str, target: AliasTarget, session: Writes) -> Any:
    """Let an alias point to a version."""
    name = queries.read_reference(model_id).name
    version = await queries.get_version(session, f"{name}:{target.version}")
    await actions.set_alias(session, version, alias)
    return await answers.answer_version(session, version)


@router.delete(
    "/{model_id}/aliases/{alias}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(errors.ModelNotFound, errors.AliasNotFound),
)
async def drop_alias(model_id: ModelId, alias: str, session: Writes) -> None:
    """Let an alias point nowhere."""
    name = queries.read_reference(model_id).name
    if not await actions.drop_alias(session, name, alias):
        raise errors.AliasNotFound(name, alias)


@router.post(
    "/{model_id}/validate",
    response_model=VersionWhole,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(*REFUSED_REFERENCES, errors.VersionNeeded, errors.IllegalMove, errors.GateClosed),
)
async def validate_version(
    model_id: ModelId, order: ValidationOrder, request: Request, begin: Begins, gatekeeper: Guards
) -> Any:
    """Try a version at the gate before staging, and let it in when it passes; or try it for production already."""
    goal, caller = Stage(order.goal), caller_of(request)
    standing = await gatekeeper.find_standing(model_id, goal)
    await gatekeeper.pass_gate(standing, goal, caller=caller, force=order.force, reason=order.reason)
    session = await begin()
    if goal == Stage.STAGING:
        await lifecycle.move_stage(session, standing.version_id, goal, reason=order.reason)
    version = await queries.get_version_by_id(session, standing.version_id)
    return await answers.answer_version_whole(session, queries.read_reference(version.model_reference))


@router.get(
    "/{model_id}/artifact",
    response_class=StreamingResponse,
    dependencies=[allows(Role.VIEWER)],
    responses=problems(*REFUSED_REFERENCES, errors.NoSuchFile),
)
async def download_artifact(
    model_id: ModelId,
    request: Request,
    session: Reads,
    path: Annotated[str | None, Query(description="Which file, where there are several.")] = None,
) -> Any:
    """A file of a version's artifact, verified on its way out."""
    version = await queries.get_version(session, model_id)
    file = choose_file(version, await queries.files_of(session, version.id), path)
    store: ArtifactStore = request.app.state.store
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(PurePosixPath(file.path).name)}",
        "Content-Length": str(file.size_bytes),
        "ETag": f'"{file.digest}"',
    }
    return StreamingResponse(
        store.open_stream(file.digest), headers=headers, media_type="application/octet-stream"
    )


def choose_file(version: Version, files: Sequence[VersionFile], path: str | None) -> VersionFile:
    """The file that a caller means: the one named, or the only one.

    Raises:
        NoSuchFile: the name is of none, or it is missing and there are several.
    """
    meant = [file for file in files if path in {None, file.path}]
    if len(meant) != 1:
        raise errors.NoSuchFile(version.model_reference, path, [file.path for file in files])
    return meant[0]


@router.post(
    "/{model_id}/archive",
    response_model=VersionOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(*REFUSED_REFERENCES, errors.VersionNeeded, errors.IllegalMove, errors.StillNeeded),
)
async def archive_version(model_id: ModelId, change: StageChange, session: Writes) -> Any:
    """Take a version out of use; it can be restored."""
    return await _move(session, model_id, Stage.ARCHIVED, change)


@router.post(
    "/{model_id}/restore",
    response_model=VersionOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(*REFUSED_REFERENCES, errors.VersionNeeded, errors.IllegalMove),
)
async def restore_version(model_id: ModelId, change: StageChange, session: Writes) -> Any:
    """Bring an archived version, or one in staging, back to validation."""
    return await _move(session, model_id, Stage.VALIDATION, change)


async def _move(session: Writes, model_id: str, goal: Stage, change: StageChange) -> Response:
    version = await queries.get_named_version(session, model_id)
    moved = await lifecycle.move_stage(session, version.id, goal, reason=change.reason)
    return await answers.answer_version(session, moved)
