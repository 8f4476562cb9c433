"""Pages by keyset: a signed cursor says after which row the next page begins; nothing is counted."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Self, TypeVar

import pydantic_core
from fastapi import Depends, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, or_

from app.core import clock
from app.core.errors import Malformed

T = TypeVar("T")
MAX_PAGE = 200
DEFAULT_PAGE = 50
CURSOR_SECONDS = 24 * 3600
_STAMP_BYTES = 5
_ABOUT_THE_PAGE = frozenset({"cursor", "limit"})


class ForeignCursor(Malformed):
    """The cursor was not made by this service for this list.

    A cursor is signed, and counts for one list with one set of filters alone. This one was cut or changed on
    its way, or was handed out for another list, for other filters, or over another database.
    """

    def detail(self) -> str:
        return "cursor: not one that this list handed out; leave it out to start at the first page"


class ExpiredCursor(Malformed):
    """The cursor is too old.

    A list changes while somebody pages through it; after a day the rest of it is another list.
    """

    def detail(self) -> str:
        return "cursor: handed out more than a day ago; leave it out to start at the first page"


class Page(BaseModel, Generic[T]):
    """One page of a list, and where the next one begins."""

    items: list[T]
    next: str | None = Field(None, description="Pass it as `cursor` for the next page; null at the end.")


@dataclass(frozen=True)
class Paging:
    """Which page of which list is asked for."""

    limit: int
    after: Any | None
    _scope: str
    _secret: bytes

    @classmethod
    def read(cls, request: Request, limit: int, cursor: str | None) -> Self:
        """The page that a request asks for.

        Raises:
            ForeignCursor: the cursor is not one of this very list.
            ExpiredCursor: it was, a day ago.
        """
        scope, secret = _list_of(request), request.app.state.secrets.cursors
        return cls(limit, None if cursor is None else _unseal(cursor, scope, secret), scope, secret)

    def cut(self, rows: Sequence[T], key: Callable[[T], Any]) -> tuple[list[T], str | None]:
        """The page's rows out of `limit + 1` fetched ones, and the cursor for the next."""
        kept = list(rows[: self.limit])
        more = len(rows) > self.limit
        return kept, (_seal(key(kept[-1]), self._scope, self._secret) if more else None)


def _list_of(request: Request) -> str:
    """Which list a request is about: its route, whose list it is, and what it is narrowed to."""
    filters = sorted(item for item in request.query_params.multi_items() if item[0] not in _ABOUT_THE_PAGE)
    whose = sorted(request.path_params.items())
    return repr((request.scope["route"].path, whose, filters))


def _seal(after: Any, scope: str, secret: bytes) -> str:
    body = int(clock.now().timestamp()).to_bytes(_STAMP_BYTES) + pydantic_core.to_json(after)
    return base64.urlsafe_b64encode(_mark(body, scope, secret) + body).decode().rstrip("=")


def _unseal(cursor: str, scope: str, secret: bytes) -> Any:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise ForeignCursor from None
    if not hmac.compare_digest(raw[:16], _mark(raw[16:], scope, secret)):
        raise ForeignCursor
    made_at, after = raw[16:][:_STAMP_BYTES], raw[16 + _STAMP_BYTES :]
    if clock.now().timestamp() - int.from_bytes(made_at) > CURSOR_SECONDS:
        raise ExpiredCursor
    return pydantic_core.from_json(after)


def _mark(body: bytes, scope: str, secret: bytes) -> bytes:
    return hashlib.blake2b(scope.encode() + b"\0" + body, key=secret, digest_size=16).digest()


async def _paging(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Rows on a page.")] = DEFAULT_PAGE,
    cursor: Annotated[str | None, Query(max_length=1024, description="`next` of the page before.")] = None,
) -> Paging:
    return Paging.read(request, limit, cursor)


Paged = Annotated[Paging, Depends(_paging)]


def matches_any(column: Any, patterns: Sequence[str]) -> ColumnElement[bool]:
    """Whether a text column matches one of the name patterns that a key is limited to."""
    return or_(*(column.like(pattern, escape="\\") for pattern in like_patterns(patterns)))


def like_patterns(patterns: Sequence[str]) -> list[str]:
    """Shell patterns as those of `LIKE`: `*` and `?` become `%` and `_`, which themselves are escaped."""
    return [_like(pattern) for pattern in patterns]


def _like(pattern: str) -> str:
    escaped = pattern.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return escaped.replace("*", "%").replace("?", "_")
