"""A child process that reads large bodies, so that parsing them never holds the service's interpreter lock.

It answers calls that come as pickles on its standard input, each with its length before it, one after the other.
Only its parent, which started it, is on the other side.
"""

import os
import pickle
import struct
import sys
from bisect import bisect_left
from dataclasses import replace
from typing import Any, BinaryIO

from app.core.errors import Refusal
from app.runtimes.rows import Rows
from app.runtimes.schema import Signature
from app.serving.dialects import Dialect, Envelope

LENGTH = struct.Struct("!Q")


class Reading:
    """One body, from its bytes to its rows."""

    def __init__(self) -> None:
        self._payload: Any = None
        self._dialect: Dialect
        self._rows: Rows

    def open(self, body: bytes, dialect: Dialect) -> Envelope:
        self._payload, self._dialect = dialect.decode(body), dialect
        return dialect.read_envelope(self._payload)

    def read(self, signature: Signature, max_rows: int) -> Rows:
        """How many rows there are and what to warn of."""
        self._rows = self._dialect.read_rows(self._payload, signature, max_rows=max_rows)
        self._payload = None
        return replace(self._rows, good=(), values=(), matrix=None, errors={})

    def window(self, start: int, stop: int) -> Rows:
        return cut_window(self._rows, start, stop)


def cut_window(rows: Rows, start: int, stop: int) -> Rows:
    """The rows at these positions of a request, good and bad, counted from the window's own beginning."""
    first, last = bisect_left(rows.good, start), bisect_left(rows.good, stop)
    good = [position - start for position in rows.good[first:last]]
    bad = {i - start: rows.errors[i] for i in range(start, stop) if i in rows.errors}
    return replace(rows.slice(first, last), count=stop - start, good=good, errors=bad)


def pack(message: Any) -> bytes:
    """A message as it travels."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def _receive(pipe: BinaryIO) -> Any:
    head = pipe.read(LENGTH.size)
    return pickle.loads(pipe.read(*LENGTH.unpack(head))) if head else None  # noqa: S301 - from the parent alone


def _call(reading: Reading, method: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """What came of a call: a result, or a refusal as what it takes to raise it again."""
    try:
        return "result", getattr(reading, method)(*arguments)
    except Refusal as refusal:
        return "refusal", (type(refusal), vars(refusal))


def main() -> None:
    """Answer calls until the parent closes its end; `open` begins a new body."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not break into an answer
    reading = Reading()
    while (call := _receive(sys.stdin.buffer)) is not None:
        method, arguments = call
        if method == "open":
            reading = Reading()
        answers.write(pack(_call(reading, method, arguments)))
        answers.flush()


if __name__ == "__main__":
    main()
