"""Large feedback bodies, each read by a child process: a hundred thousand items would hold the event loop for seconds.

The child takes the body and what its items are held against as a pickle on its standard input, and answers with
a pickle on its standard output. Only its parent, which started it, is on the other side.
"""

import asyncio
import gc
import os
import pickle
import sys
from asyncio.subprocess import PIPE
from typing import Any

from app.core.errors import Refusal
from app.evidence.errors import FeedbackReaderLost
from app.evidence.feedback import EnvelopeInvalidError, ItemReader, read_submission
from app.evidence.outcomes import Sorted

AT_ONCE = 2
SMALL_BYTES = 128 * 1024  # some 1,800 items, 15 ms; to start a child costs 200 ms of another core
_COMMAND = (sys.executable, "-m", "app.evidence.readers")


class FeedbackReaders:
    """Reads the bodies of feedback calls, a few large ones at a time."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def read(self, body: bytes, reader: ItemReader) -> Sorted:
        """The items of a body, ready for the database.

        Raises:
            EnvelopeInvalidError, TooManyOutcomes: see `read_submission`.
            FeedbackReaderLost: the child ended before it was done.
        """
        if len(body) <= SMALL_BYTES:
            return read_submission(body, reader).sort_out()
        async with self._turn:
            kind, value = await _ask_child(body, reader)
        if kind == "refusal":
            refusal, members = value
            raise refusal(**members)
        if kind == "invalid":
            raise EnvelopeInvalidError(value)
        return value  # type: ignore[no-any-return]


async def _ask_child(body: bytes, reader: ItemReader) -> tuple[str, Any]:
    child = await asyncio.create_subprocess_exec(*_COMMAND, stdin=PIPE, stdout=PIPE)
    try:
        answer, _ = await child.communicate(pickle.dumps((body, reader)))
    finally:
        if child.returncode is None:
            child.kill()
    if child.returncode:
        raise FeedbackReaderLost
    outcome: tuple[str, Any] = pickle.loads(answer)  # noqa: S301 - from our own child
    return outcome


def _read(body: bytes, reader: ItemReader) -> tuple[str, Any]:
    """What came of it: a result, or an error as what it takes to raise it again."""
    try:
        return "sorted", read_submission(body, reader).sort_out()
    except Refusal as refusal:
        return "refusal", (type(refusal), vars(refusal))
    except EnvelopeInvalidError as error:
        return "invalid", error.faults


def main() -> None:
    """Read one body."""
    gc.disable()  # nothing that this short life makes becomes garbage, and looking for it costs a third of the time
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not break into the answer
    pickle.dump(_read(*pickle.load(sys.stdin.buffer)), answers)  # noqa: S301 - from the parent alone
    answers.close()


if __name__ == "__main__":
    main()
