"""Feedback and the prediction log over HTTP."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response, StreamingResponse

from app.core import clock
from app.core.access import Role, allows, caller_of
from app.core.edge import Db, Reads, Writes, room
from app.core.errors import FieldProblem
from app.core.paging import Page, Paged
from app.core.problems import problems
from app.core.wire import Line
from app.evidence import actions, queries
from app.evidence.errors import FeedbackReaderLost, PredictionNotFound, TooManyOutcomes
from app.evidence.export import Format, export_log, plan_columns
from app.evidence.feedback import EnvelopeInvalidError, ItemReader
from app.evidence.queries import LogFilters
from app.evidence.schemas import (
    FEEDBACK_SCHEMA,
    FeedbackOut,
    Moment,
    PredictionOut,
)
from app.evidence.views import LogView, open_log
from app.registry import errors as registry_errors
from app.registry import queries as registry

router = room("/models", "predictions")
ModelId = Annotated[
    str, Path(description="`name`, `name:3`, `name:2.1.0` or `name@alias`", examples=["breast-cancer"])
]
REFUSED_REFERENCES = (
    registry_errors.BadReference,
    registry_errors.ModelNotFound,
    registry_errors.VersionNotFound,
)
MAX_NUMBER = 2**31
EXPORTED: dict[int | str, dict[str, Any]] = {200: {"content": {form.media_type: {} for form in Format}}}
FEEDBACK_BODY = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": FEEDBACK_SCHEMA}}}
}


@router.post(
    "/{model_id}/feedback",
    response_model=FeedbackOut,
    openapi_extra=FEEDBACK_BODY,
    dependencies=[allows(Role.CALLER)],
    responses=problems(*REFUSED_REFERENCES, TooManyOutcomes, FeedbackReaderLost),
)
async def give_feedback(model_id: ModelId, request: Request, session: Writes, database: Db) -> Response:
    """Tell what turned out to be true of predictions: late, early, corrected, one or a hundred thousand of them."""
    state = request.app.state
    async with database.reads() as reading:
        model = await registry.get_model(reading, registry.read_reference(model_id).name)
        target = await queries.target_of(reading, model.id)
    reader = ItemReader(target, clock.now(), state.settings.prediction_retention_days)
    try:
        given = await state.feedback_readers.read(await request.body(), reader)
    except EnvelopeInvalidError as error:
        faults = [fault | {"loc": ("body", *fault["loc"])} for fault in error.faults]
        raise RequestValidationError(faults) from None
    tally = await actions.record_outcomes(session, model.name, given)
    return Response(tally.as_json(), media_type="application/json")


async def _filters(
    *,
    id: Annotated[UUID | None, Query(description="One prediction.")] = None,  # noqa: A002 - its name on the wire
    version: Annotated[
        int | None, Query(ge=1, le=MAX_NUMBER, description="The number of the version that answered.")
    ] = None,
    since: Annotated[Moment | None, Query(description="Not earlier than this.")] = None,
    until: Annotated[Moment | None, Query(description="Earlier than this.")] = None,
    arm: Line | None = None,
    caller: Annotated[Line | None, Query(description="The name of the key that asked.")] = None,
    shadow: bool | None = None,
    entity_id: Line | None = None,
    labelled: Annotated[bool | None, Query(description="Whether the true answer is known.")] = None,
) -> LogFilters:
    return LogFilters(id, version, since, until, arm, caller, shadow, entity_id, labelled)


Filtered = Annotated[LogFilters, Depends(_filters)]


@router.get(
    "/{model_id}/predictions",
    response_model=Page[PredictionOut],
    dependencies=[allows(Role.VIEWER)],
    responses=problems(*REFUSED_REFERENCES, FieldProblem),
)
async def list_predictions(
    model_id: ModelId, request: Request, session: Reads, paging: Paged, filters: Filtered
) -> Any:
    """What a model, or one version of it, answered, newest first, with what turned out to be true."""
    log = await open_log(session, model_id, caller_of(request))
    query = queries.select_predictions(log.model, log.narrow(filters))
    last = None if paging.after is None else UUID(paging.after)
    rows = (await session.scalars(queries.page_after(query, last, paging.limit))).all()
    predictions, following = paging.cut(rows, lambda row: str(row.id))
    return {"items": await LogView(session, log.hidden).show(predictions), "next": following}


@router.get(
    "/{model_id}/predictions/export",
    response_class=StreamingResponse,
    dependencies=[allows(Role.VIEWER)],
    responses=EXPORTED | problems(*REFUSED_REFERENCES, FieldProblem),
)
async def export_predictions(
    model_id: ModelId,
    request: Request,
    session: Reads,
    database: Db,
    filters: Filtered,
    form: Annotated[Format, Query(alias="format")] = Format.CSV,
) -> StreamingResponse:
    """The same as a file, without pages: columns that the caller may not see hold a mask."""
    log = await open_log(session, model_id, caller_of(request))
    wanted = log.narrow(filters)
    signatures = await queries.signatures_of(session, log.model_id, number=wanted.version)
    query = queries.select_predictions(log.model, wanted)
    pieces = export_log(database, query, plan_columns(signatures, log.hidden), hidden=log.hidden, form=form)
    name = {"Content-Disposition": f'attachment; filename="{log.model} predictions.{form}"'}
    return StreamingResponse(pieces, headers=name, media_type=form.media_type)


@router.get(
    "/{model_id}/predictions/{prediction_id}",
    response_model=PredictionOut,
    dependencies=[allows(Role.VIEWER)],
    responses=problems(*REFUSED_REFERENCES, PredictionNotFound),
)
async def get_prediction(model_id: ModelId, prediction_id: UUID, request: Request, session: Reads) -> Any:
    """One prediction, with what turned out to be true of it."""
    log = await open_log(session, model_id, caller_of(request))
    prediction = await queries.get_prediction(session, log.model, prediction_id)
    return (await LogView(session, log.hidden).show([prediction]))[0]
