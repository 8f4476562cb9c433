"""Feedback and the prediction log over HTTP."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import StreamingResponse

from app.core import clock
from app.core.access import Role, allows, caller_of
from app.core.config import Settings
from app.core.edge import Db, Reads, Writes, room
from app.core.paging import Page, Paged
from app.core.problems import problems
from app.evidence import actions, errors, queries
from app.evidence.export import Format, export_log
from app.evidence.feedback import ItemReader, read_items
from app.evidence.queries import LogFilters
from app.evidence.schemas import MAX_ITEMS, Feedback, FeedbackEnvelope, FeedbackOut, PredictionOut
from app.evidence.views import LogView, hidden_from
from app.registry import errors as registry_errors
from app.registry import queries as registry

router = room("/models", "predictions")
ModelId = Annotated[
    str, Path(description="`name`, `name:3`, `name:2.1.0` or `name@alias`", examples=["breast-cancer"])
]
REFUSED_REFERENCES = (
    registry_errors.BadReference, registry_errors.ModelNotFound, registry_errors.VersionNotFound,
)  # fmt: skip
FEEDBACK_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": Feedback.model_json_schema(ref_template="#/components/schemas/{model}")}
        },
    }
}
