"""Reading a registration: a multipart form with the files, or JSON that says where they are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import obstore
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from obstore.exceptions import BaseError as ObstoreError
from obstore.store import from_url
from pydantic import ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile

from app.core.config import Settings
from app.core.errors import FieldProblem
from app.core.wire import Line
from app.registry.forms import PARTS, BadForm, open_form
from app.registry.schemas import VersionDetails

UPLOAD_BLOCK = 1024 * 1024
HELD_BYTES = (
    256 * 1024
)  # of one artifact: to hash so many on the event loop takes less than a hop to a thread


class RemoteRegistration(VersionDetails):
    """A registration whose files lie in a store that the operator allows (SWITCHYARD_IMPORT_ROOTS)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"name": "breast-cancer", "artifact_uri": "s3://models/breast-cancer/model.skops"}
        }
    )

    artifact_uri: Line = Field(min_length=1)
    reference_uri: Line | None = None
    evaluation_uri: Line | None = Field(None, description="Rows with the true answer in the column `target`.")


@dataclass(frozen=True)
class IncomingFile:
    """A file on its way in."""

    name: str
    blocks: AsyncIterator[bytes]
    size: int | None
    held: bytes | None = None
    """All of it, where it has arrived and is small; `blocks` give the same."""


@dataclass(frozen=True)
class Registration:
    """What a caller wants registered."""

    details: VersionDetails
    artifact: list[IncomingFile]
    reference: IncomingFile | None = None
    evaluation: IncomingFile | None = None
    identity: bytes = field(default=b"", repr=False)
    """The words of the request, to tell two requests with one idempotency key apart."""

    @property
    def says_anew(self) -> bool:
        """Whether it says of the model what an earlier load of the same bytes can't have found."""
        return bool(self.reference or self.details.signature or self.details.serve_as != "auto")


@asynccontextmanager
async def open_registration(request: Request, settings: Settings) -> AsyncIterator[Registration]:
    """A registration in either of its forms, whose files can be read for as long as the block lasts.

    Raises:
        BadForm: the body is neither.
        UploadTooLarge: its files are too large together.
        RequestValidationError: the metadata is wrong.
        FieldProblem: the files lie where nobody may import from.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with open_form(request, settings.max_upload_bytes) as form:
            yield await _read_form(form)
    elif kind == "application/json":
        yield await _read_remote(await request.body(), settings.import_roots)
    else:
        raise BadForm(f"the content type {kind!r} is neither that of a form nor of JSON")


async def _read_remote(raw: bytes, roots: tuple[str, ...]) -> Registration:
    details: RemoteRegistration = parse_details(raw, RemoteRegistration)
    uris = details.artifact_uri, details.reference_uri, details.evaluation_uri
    for uri in (each for each in uris if each is not None):
        require_allowed_root(uri, roots)
    artifact, reference, evaluation = [await open_remote(uri) if uri is not None else None for uri in uris]
    assert artifact is not None
    return Registration(details, [artifact], reference, evaluation, raw)


async def open_remote(uri: str) -> IncomingFile:
    """A file in a directory or an object store, to be read block by block.

    Raises:
        FieldProblem: it is not there.
    """
    directory, _, name = uri.rpartition("/")
    try:
        found = await obstore.get_async(
            from_url(directory if "://" in directory else f"file://{directory}"), name
        )
    except (ObstoreError, FileNotFoundError, ValueError) as error:
        raise FieldProblem("artifact_uri", f"{uri!r} can't be read: {type(error).__name__}") from None
    return IncomingFile(name, _remote_blocks(found), found.meta["size"])


async def _remote_blocks(found: Any) -> AsyncIterator[bytes]:
    async for block in found.stream(min_chunk_size=UPLOAD_BLOCK):
        yield bytes(block)


async def _read_form(form: FormData) -> Registration:
    """A registration from a multipart form.

    Raises:
        BadForm: a part is missing, unknown, or of the wrong kind.
        RequestValidationError: the metadata is wrong.
    """
    unknown = sorted(set(form) - PARTS)
    if unknown:
        raise BadForm(f"unknown part {', '.join(unknown)}")
    metadata = form.get("metadata")
    text = await metadata.read() if isinstance(metadata, UploadFile) else metadata
    if text is None:
        raise BadForm("the part `metadata` is missing")
    files = [_file(part, "artifact") for part in form.getlist("artifact")]
    if not files:
        raise BadForm("the part `artifact` is missing: attach at least one file")
    if sum(file.size or 0 for file in files) <= HELD_BYTES:
        files = [await _hold(file) for file in files]
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return Registration(
        parse_details(raw, VersionDetails),
        files,
        _optional(form, "reference"),
        _optional(form, "evaluation"),
        raw,
    )


def _optional(form: FormData, name: str) -> IncomingFile | None:
    parts = form.getlist(name)
    if len(parts) > 1:
        raise BadForm(f"the part `{name}` was sent {len(parts)} times")
    return _file(parts[0], name) if parts else None


def _file(part: UploadFile | str, name: str) -> IncomingFile:
    if isinstance(part, str):
        raise BadForm(f"the part `{name}` must be a file")
    return IncomingFile(part.filename or name, _blocks(part), part.size)


async def _hold(file: IncomingFile) -> IncomingFile:
    body = b"".join([block async for block in file.blocks])
    return IncomingFile(file.name, _only(body), len(body), body)


async def _only(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _blocks(part: UploadFile) -> AsyncIterator[bytes]:
    while block := await part.read(UPLOAD_BLOCK):
        yield block


def parse_details(raw: bytes, shape: type[VersionDetails]) -> Any:
    """The metadata as JSON.

    Raises:
        RequestValidationError: with one entry per wrong field.
    """
    try:
        return shape.model_validate_json(raw)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        raise RequestValidationError(
            [{**fault, "loc": ("metadata", *fault["loc"])} for fault in faults]
        ) from None


def require_allowed_root(uri: str, roots: tuple[str, ...]) -> None:
    """Let only places be read that the operator named.

    Raises:
        FieldProblem: the place lies elsewhere.
    """
    inside = any(uri == root or uri.startswith(root.rstrip("/") + "/") for root in roots)
    if not inside or "/../" in f"{uri}/":
        allowed = ", ".join(roots) or "none; set SWITCHYARD_IMPORT_ROOTS"
        raise FieldProblem(
            "artifact_uri", f"{uri!r} lies outside the places that may be imported from ({allowed})"
        )
