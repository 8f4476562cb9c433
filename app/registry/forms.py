"""Reading a registration's form, whose files wait on disk, or in memory while they are few and small."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from app.artifacts.errors import UploadTooLarge
from app.core.errors import Malformed
from app.runtimes.formats import MAX_FILES

PARTS = {"metadata", "artifact", "reference", "evaluation"}
_MOST_FILES = (
    MAX_FILES + len(PARTS) - 1
)  # what lies beside the artifact, and the metadata if it comes as a file
_FEW_FILES, _KEPT_OF_FEW, _KEPT_OF_MANY = 16, 1024 * 1024, 16 * 1024
"""A form of `_MOST_FILES` has 32 MiB in memory at most."""


@dataclass(eq=False)
class BadForm(Malformed):
    """The registration can't be read.

    A registration comes as a form with one `metadata`, one or more files as `artifact`, and perhaps a file as
    `reference` and one as `evaluation`; or as JSON with `artifact_uri`. `problem` says in what this one
    differs.
    """

    problem: str

    def detail(self) -> str:
        return (
            f"{self.problem}. Send multipart/form-data with `metadata` (JSON) and `artifact` (one or more files), or JSON "
            "with `artifact_uri`."
        )


@asynccontextmanager
async def open_form(request: Request, max_bytes: int) -> AsyncIterator[FormData]:
    """The parts of a form, whose files are there for as long as the block lasts.

    Raises:
        BadForm: it is cut off, or has too many parts.
        UploadTooLarge: its files have more than `max_bytes` together.
    """
    async with aclosing(request.stream()) as stream:
        try:
            form = await _Parser(request.headers, stream, max_bytes).parse()
        except MultiPartException as error:
            raise BadForm(error.message.rstrip(".")) from None
    try:
        yield form
    finally:
        await form.close()


class _Parser(MultiPartParser):
    """Starlette's, within the limits of one upload; its own would keep 1 MiB of each file in memory."""

    def __init__(self, headers: Any, stream: Any, max_bytes: int) -> None:
        super().__init__(headers, stream, max_files=_MOST_FILES, max_fields=len(PARTS))
        self._max_bytes = max_bytes
        self._bytes = 0

    def on_headers_finished(self) -> None:
        """Decide how much of the part that begins may stay in memory."""
        self.spool_max_size = _KEPT_OF_FEW if self._current_files < _FEW_FILES else _KEPT_OF_MANY
        super().on_headers_finished()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Count what arrives."""
        self._bytes += end - start
        if self._bytes > self._max_bytes:
            raise UploadTooLarge(self._name_of_part(), self._max_bytes)
        super().on_part_data(data, start, end)

    def _name_of_part(self) -> str:
        file = self._current_part.file
        return (file and file.filename) or self._current_part.field_name
