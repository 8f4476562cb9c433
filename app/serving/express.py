"""The express way of a prediction: from the connection to the model and back in plain calls, for most of them.

What is not plain, not known in memory, or not allowed is left to the ASGI door (`app.serving.api`), which finds out
why and says so. Both ways keep the same rules and end in the same company of requests.
"""

import asyncio
import re
from functools import lru_cache
from typing import Any, Protocol

from starlette.types import Scope

from app.core.access import Caller
from app.core.authenticate import Authenticator
from app.core.config import Settings
from app.core.errors import Refusal
from app.core.hosts import CONFINED, HostPolicy
from app.core.problems import answer_error
from app.core.telemetry import Visit
from app.runtimes.rows import Rows
from app.serving.answers import PredictRequest
from app.serving.api import TEMPLATE, read_entity_id
from app.serving.company import Seat
from app.serving.encoding import encode_answer, encode_small
from app.serving.predictor import Predictor

_URL = re.compile(rb"/api/(?:v1/)?models/([A-Za-z0-9._@:-]+)/predict")
_HEAD = b"".join(b"%b: %b\r\n" % header for header in ((b"content-type", b"application/json"), *CONFINED))


class Exchange(Protocol):
    """A request that has arrived whole, and the way back to who sent it."""

    url: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytearray

    def answer(self, status: int, head: bytes, body: bytes) -> None:
        """Send header lines and a body."""

    def follow(self, work: Any) -> None:
        """Let the server know of work that will answer later."""


class Express:
    """Takes the exchanges that can be answered from memory."""

    def __init__(self, predictor: Predictor, authenticate: Authenticator, settings: Settings) -> None:
        self._predictor = predictor
        self._authenticate = authenticate
        self._hosts = HostPolicy(settings)
        self._max_bytes = settings.max_json_bytes

    def take(self, exchange: Exchange) -> bool:
        """Whether this exchange is answered, now or soon; if not, nothing has happened."""
        reference, headers = reference_in(exchange.url), dict(exchange.headers)
        if reference is None or len(headers) < len(exchange.headers) or len(exchange.body) > self._max_bytes:
            return False
        caller = self._authenticate.known(headers.get(b"authorization"))
        if caller is None or not self._hosts.is_plainly_fine(headers):
            return False
        visit = Visit(_scope_of(exchange, caller))
        try:
            seat = self._seat(reference, exchange, headers, caller, visit)
        except Refusal:
            return False
        if seat is None:
            return False
        self._predictor.join(seat, _Ticket(exchange, visit, seat, self._predictor))
        return True

    def _seat(
        self,
        reference: str,
        exchange: Exchange,
        headers: dict[bytes, bytes],
        caller: Caller,
        visit: Visit,
    ) -> Seat | None:
        request = PredictRequest(
            reference,
            bytes(exchange.body),
            caller,
            request_id=visit.request_id,
            entity_id=read_entity_id(headers),
            encode=encode_small,
        )
        return self._predictor.seat_plain(request)


@lru_cache(maxsize=1024)
def reference_in(url: bytes) -> str | None:
    """The model reference in the address of a prediction; None for any other address, and for odd ones.

    >>> reference_in(b"/api/models/churn@champion/predict"), reference_in(b"/api/models/a%20b/predict")
    ('churn@champion', None)
    """
    match = _URL.fullmatch(url)
    return str(match[1], "ascii") if match else None


def _scope_of(exchange: Exchange, caller: Caller) -> Scope:
    """As much of an ASGI scope as the rules and the log want to know."""
    return {
        "method": "POST",
        "path": str(exchange.url, "ascii"),
        "route_template": TEMPLATE,
        "headers": exchange.headers,
        "state": {"caller": caller},
    }


class _Ticket:
    """One request in company: what comes of it goes straight to its connection."""

    __slots__ = ("_exchange", "_predictor", "_seat", "_visit")

    def __init__(self, exchange: Exchange, visit: Visit, seat: Seat, predictor: Predictor) -> None:
        self._exchange = exchange
        self._visit = visit
        self._seat = seat
        self._predictor = predictor

    def done(self) -> bool:
        """No: even for a client that has left, the answer is counted and told of."""
        return False

    def set_result(self, rows: Rows | None) -> None:
        """The answer is finished, or its rows go on by themselves."""
        encoded = self._seat.answer.encoded
        if rows is not None or encoded is None:
            self._exchange.follow(self._go_on(rows))
            return
        self._send(encoded)
        self._predictor.offer_to_shadows(self._seat)

    def set_exception(self, error: BaseException) -> None:
        """There is no answer but a refusal."""
        assert isinstance(error, Exception)
        answer = answer_error(error, self._visit.scope)
        head = b"".join(
            b"%b: %b\r\n" % header for header in (*answer.raw_headers, *CONFINED, self._visit.header)
        )
        self._visit.status = answer.status_code
        self._exchange.answer(answer.status_code, head, bytes(answer.body))
        self._visit.end()

    async def _go_on(self, rows: Rows | None) -> None:
        try:
            await self._predictor.finish(self._seat, rows)
            body = await encode_answer(self._seat.answer)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer and the log the rest
            self.set_exception(error)
        else:
            self._send(body)

    def _send(self, body: bytes) -> None:
        self._visit.status = 200
        head = b"%bcontent-length: %d\r\nx-request-id: %b\r\n" % (_HEAD, len(body), self._visit.header[1])
        self._exchange.answer(200, head, body)
        self._visit.end()
