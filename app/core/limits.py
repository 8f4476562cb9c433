"""What a request body may be before anything parses it: how large, how deeply nested, how slow.

Uploads are streamed to where they belong and have limits of their own; every other body is collected here,
measured on the way in, and handed on in one piece. What is an upload is decided by its path: the content type
is only the client's word, and a form sent to a JSON endpoint would be read into memory whole.
"""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.config import Settings
from app.core.errors import Malformed, Refusal, TooLarge
from app.core.problems import answer_refusal

_SLICE_BYTES = 64 * 1024  # scanned between two turns of the event loop: 0.2 ms, 5 ms if all are brackets
_LINGER_SECONDS = 2.0
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NEVER_JSON = {b"text/csv", b"application/x-www-form-urlencoded"}
_NO_PATH = re.compile(r"(?!)")

_Headers = dict[bytes, bytes]


@dataclass(eq=False)
class BodyTooLarge(TooLarge):
    """The body is larger than this service reads.

    All bodies but the forms of registrations are held in memory whole before they are read, so they have a
    limit of `limit_bytes`. The operator sets it with `SWITCHYARD_MAX_JSON_BYTES`.
    """

    limit_bytes: int

    def detail(self) -> str:
        return f"The body may have {self.limit_bytes:,} bytes at most."


@dataclass(eq=False)
class BodyTooDeep(TooLarge):
    """The JSON is nested more deeply than this service reads.

    Nesting costs a parser more than its bytes tell, so it is measured before anything is parsed. The operator
    sets the limit with `SWITCHYARD_MAX_JSON_DEPTH`.
    """

    limit_depth: int

    def detail(self) -> str:
        return f"Arrays and objects may be nested {self.limit_depth} deep at most."


@dataclass(eq=False)
class HeadersTooLarge(TooLarge):
    """The headers are larger than this service reads.

    They are held in memory until they end, so they have a limit: `limit_bytes`, which no setting changes. The
    connection was closed.
    """

    status = 431
    limit_bytes: int


@dataclass(eq=False)
class RequestTooSlow(Refusal):
    """The request did not arrive in time.

    Whoever sends slowly holds a connection, so headers have 10 seconds, each further kilobyte of a body as
    many (2 while the process stops), and a whole body has `SWITCHYARD_REQUEST_SECONDS`. `limit_seconds` is
    the one of them that passed; the connection was closed, and nothing was done.
    """

    status = 408
    limit_seconds: float

    def detail(self) -> str:
        return f"The rest of the request did not arrive within {self.limit_seconds:g} seconds."


class NotHttp(Malformed):
    """The request is not HTTP as RFC 9112 defines it.

    What came breaks the rules by which one request is told from the next, or asks for another protocol than
    HTTP, which is not spoken here. The connection was closed, and nothing was done.
    """


@dataclass(eq=False)
class TextUnstorable(Malformed):
    """A text holds a character that can't be stored.

    Postgres stores neither U+0000 nor half of a surrogate pair, so an address that holds one leads nowhere.
    `path` says where it stood: in the `path` of the address, or in its `query`.
    """

    path: str

    def detail(self) -> str:
        where = f"The text at {self.path}" if self.path else "The text"
        return f"{where} holds U+0000 or half of a surrogate pair (U+D800 to U+DFFF)."


class BodyLimits:
    """ASGI middleware that refuses a body over the limits before the application sees it.

    Paths that match `form_paths` take multipart uploads, those that match `file_paths` a file as it is.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        form_paths: re.Pattern[str] = _NO_PATH,
        file_paths: re.Pattern[str] = _NO_PATH,
    ) -> None:
        self._app = app
        self._reader = BodyReader(settings)
        self._form_paths = form_paths
        self._file_paths = file_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body collected, or answer with a problem document."""
        if scope["type"] != "http" or self._passes(headers := dict(scope["headers"]), scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._reader.collect(headers, receive)
            if _media_type(headers) not in _NEVER_JSON:
                await self._reader.require_shallow(body)
        except (BodyTooLarge, RequestTooSlow) as refusal:
            await answer_and_close(answer_refusal(refusal), receive, send)
        except BodyTooDeep as refusal:
            await answer_refusal(refusal)(scope, receive, send)
        except ClientGone:
            return
        else:
            await self._app(scope, _replaying(body, receive), send)

    def _passes(self, headers: _Headers, path: str) -> bool:
        if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
            return True
        if _media_type(headers).startswith(b"multipart/") and self._form_paths.fullmatch(path):
            return True
        return self._file_paths.fullmatch(path) is not None


class BodyReader:
    """Collects bodies within the limits of size and time, and looks how deep they go."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def collect(self, headers: _Headers, receive: Receive) -> bytes:
        """The whole body of a request.

        Raises:
            BodyTooLarge, RequestTooSlow: it is, and the connection should end with that answer.
            ClientGone: there is nobody left to answer.
        """
        limit = self._settings.max_json_bytes
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit:
            raise BodyTooLarge(limit)
        message = await receive()  # a first byte that never comes is for the server's own deadlines
        body = _part(message)
        if message.get("more_body"):
            body = await self._collect_rest(body, receive)
        if len(body) > limit:
            raise BodyTooLarge(limit)
        return body

    async def require_shallow(self, body: bytes) -> None:
        """Look through a JSON body before it is parsed.

        Raises:
            BodyTooDeep: its arrays and objects are nested too deeply.
        """
        if _may_be_deep(body, self._settings.max_json_depth):
            await refuse_deep_json(body, self._settings.max_json_depth)

    async def _collect_rest(self, first: bytes, receive: Receive) -> bytes:
        try:
            async with asyncio.timeout(self._settings.request_seconds):
                return await _gather(first, receive, limit=self._settings.max_json_bytes)
        except TimeoutError:
            raise RequestTooSlow(self._settings.request_seconds) from None


class ClientGone(Exception):  # noqa: N818 - it hung up: nobody is left to answer
    """The client closed the connection before its request was there."""


def _media_type(headers: _Headers) -> bytes:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def _part(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    part: bytes = message.get("body", b"")
    return part


async def _gather(first: bytes, receive: Receive, *, limit: int) -> bytes:
    parts, size, more = [first], len(first), True
    while more:
        message = await receive()
        parts.append(_part(message))
        size += len(parts[-1])
        if size > limit:
            raise BodyTooLarge(limit)
        more = message.get("more_body", False)
    return b"".join(parts)


def _replaying(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the collected body first and then whatever the connection has to say."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


async def answer_and_close(answer: Response, receive: Receive, send: Send) -> None:
    """Answer at once, then swallow what still arrives for a moment before the connection closes.

    Closing with unread bytes resets the connection, and the reset can overtake the answer (RFC 9112, 9.6).
    """
    answer.headers["connection"] = "close"
    await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            while (await receive()).get("more_body"):
                continue
    await send({"type": "http.response.body"})


def _may_be_deep(body: bytes, limit_depth: int) -> bool:
    return len(body) > _SLICE_BYTES or body.count(b"[") + body.count(b"{") > limit_depth


async def refuse_deep_json(body: bytes, limit_depth: int) -> None:
    """Scan a JSON text, giving the event loop its turn between slices.

    Raises:
        BodyTooDeep: arrays and objects are nested more deeply than `limit_depth`.
    """
    scan = _DepthScan()
    for start in range(0, len(body), _SLICE_BYTES):
        if scan.feed(body[start : start + _SLICE_BYTES]) > limit_depth:
            raise BodyTooDeep(limit_depth)
        await asyncio.sleep(0)


class _DepthScan:
    """How deep a JSON text goes, slice by slice; brackets inside strings don't count."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._held = b""

    def feed(self, piece: bytes) -> int:
        """The greatest depth that this slice reaches."""
        steps = map(_STEP.__getitem__, self._brackets(piece))
        heights = list(accumulate(steps, initial=self._depth))
        self._depth = heights[-1]
        return max(heights)

    def _brackets(self, piece: bytes) -> bytes:
        piece = self._held + piece
        backslashes = len(piece) - len(piece.rstrip(b"\\"))
        self._held = piece[-1:] if backslashes % 2 else b""  # what it escapes comes with the next slice
        plain = piece[: len(piece) - len(self._held)].replace(b"\\\\", b"").replace(b'\\"', b"")
        segments = plain.split(b'"')
        outside = segments[self._in_string :: 2]
        self._in_string ^= len(segments) % 2 == 0
        return b"".join(outside).translate(None, _NOT_BRACKETS)
