"""Where the rows of a request come from: a body read here, or one that a child process reads."""

from bisect import bisect_left
from dataclasses import replace
from typing import Any, Protocol

from app.runtimes.rows import Rows
from app.runtimes.schema import Signature
from app.serving.dialects import Dialect, Envelope

_ALWAYS_SMALL_BYTES = 64 * 1024
_SMALL_BYTES = 1024 * 1024
_SMALL_BRACKETS = 4000


def is_small(body: bytes) -> bool:
    """Whether a body may be read on the event loop: 20 ms at most, and 100 ms when every single row of it is bad."""
    if len(body) <= _ALWAYS_SMALL_BYTES:
        return True
    return len(body) <= _SMALL_BYTES and body.count(b"[") + body.count(b"{") <= _SMALL_BRACKETS


class Source(Protocol):
    """A body on its way to become rows; the three are called in this order."""

    async def open(self) -> Envelope:
        """The request's options: they decide which version, and so which signature, the rows are for."""

    async def read(self, signature: Signature) -> Rows:
        """How many rows there are and what to warn of; the rows themselves come window by window."""

    async def window(self, start: int, stop: int) -> Rows:
        """The rows at these positions of the request, good and bad, as a batch of their own."""


class SmallBody:
    """A body that is read on the event loop."""

    def __init__(self, body: bytes, dialect: Dialect, *, max_rows: int) -> None:
        self._body = body
        self._dialect = dialect
        self._max_rows = max_rows

    async def open(self) -> Envelope:
        self._payload: Any = self._dialect.decode(self._body)
        return self._dialect.read_envelope(self._payload)

    async def read(self, signature: Signature) -> Rows:
        self._rows = self._dialect.read_rows(self._payload, signature, max_rows=self._max_rows)
        return self._rows

    async def window(self, start: int, stop: int) -> Rows:
        return cut_window(self._rows, start, stop)


def cut_window(rows: Rows, start: int, stop: int) -> Rows:
    """The rows at these positions of a request, counted from its own beginning."""
    if start == 0 and stop >= rows.count:
        return rows
    first, last = bisect_left(rows.good, start), bisect_left(rows.good, stop)
    good = [position - start for position in rows.good[first:last]]
    bad = {i - start: rows.errors[i] for i in range(start, stop) if i in rows.errors}
    return replace(rows.slice(first, last), count=stop - start, good=good, errors=bad)
